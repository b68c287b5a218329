"""Sinks that take some of what they are offered."""

from collections.abc import Callable

from server.store.types import LogEntry


class RecordingSink:
    """Keeps what it takes. `accepts` is asked once per offer."""

    def __init__(self, accepts: Callable[[], bool] = lambda: True) -> None:
        self.accepts = accepts
        self.entries: list[LogEntry] = []

    def try_push(self, entries: list[LogEntry]) -> bool:
        if not self.accepts():
            return False
        self.entries.extend(entries)
        return True
