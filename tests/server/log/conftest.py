"""The log is tested on every store."""

from tests.server.store.conftest import (
    cluster,
    faulty,
    no_tasks_left,
    own,
    redis,
    redis7,
    redis62,
    server,
    single,
    store,
)

__all__ = ["cluster", "faulty", "no_tasks_left", "own", "redis", "redis7", "redis62", "server", "single", "store"]
