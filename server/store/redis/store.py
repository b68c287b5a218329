"""The store in Redis: which server an address means, and the four contracts over one set of connections."""

import asyncio
import re
from collections.abc import Callable

from server.store.errors import BadAddress
from server.store.redis.backend import Backend
from server.store.redis.blocking import BlockingReader
from server.store.redis.client import Client
from server.store.redis.cluster import ClusterClient
from server.store.redis.history import RedisHistoryStore
from server.store.redis.keys import Keys, Lifetimes
from server.store.redis.registry import RedisNodeRegistry
from server.store.redis.routed import RoutedClient
from server.store.redis.sentinel import SentinelClient
from server.store.redis.tickets import RedisTicketStore
from server.store.redis.turns import RedisTurnStore
from server.telemetry.unreadable import UnreadableRecords

CLIENTS: dict[str, type[Client | ClusterClient | SentinelClient]] = {
    **dict.fromkeys(("redis", "rediss", "unix"), Client),
    **dict.fromkeys(("redis+cluster", "rediss+cluster"), ClusterClient),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), SentinelClient),
}
CLUSTER_PARTITIONS = 16  # their hash tags lie in sixteen different slots; any other Redis has one partition
# Connections to one server for calls, as many as are under way: a turn begins and ends with one of its own.
MAX_CALL_CONNECTIONS = 64
# Connections to one server for blocking reads: each partition's reader, and those that wake them.
MAX_BLOCKING_CONNECTIONS = 2 * CLUSTER_PARTITIONS


def connect(
    url: str,
    lifetimes: Lifetimes | None = None,
    *,
    timeout: float = 2.0,
    intact_runs: Callable[[], tuple[str, ...]] = tuple,
    unreadable: UnreadableRecords | None = None,
) -> "RedisStore":
    """A store at `redis://`, `rediss://` or `unix://`; `redis+cluster://` and `redis+sentinel://`, also with `rediss`.

    `timeout` is in seconds, for each call. `intact_runs` names earlier processes of this Redis, by their run ids, after
    which nothing was lost. Nothing is opened before the first call; `check()` is one. Raises
    BadAddress.
    """
    client = _client(url, timeout=timeout, limit=MAX_CALL_CONNECTIONS)
    return RedisStore(
        Backend(
            client=client,
            blocking=BlockingReader(_client(url, timeout=timeout, limit=MAX_BLOCKING_CONNECTIONS)),
            keys=Keys(CLUSTER_PARTITIONS if isinstance(client, ClusterClient) else 1),
            lifetimes=lifetimes or Lifetimes(),
            intact_runs=intact_runs,
            unreadable=unreadable or UnreadableRecords(),
        )
    )


def _client(url: str, *, timeout: float, limit: int) -> Client | RoutedClient:
    scheme = url.partition("://")[0]
    if scheme not in CLIENTS:
        raise BadAddress(f"{scheme}:// is not supported as a Redis address; use one of {', '.join(CLIENTS)}")
    try:
        client = CLIENTS[scheme](url, timeout=timeout, limit=limit)
        client.check_address()
    except (ValueError, TypeError) as error:
        raise BadAddress(_wrong_with(error)) from None
    return client


def _wrong_with(error: ValueError | TypeError) -> str:
    """What redis-py found. Only names of options are repeated: anything else may be a piece of a password."""
    option = re.search(r"unexpected keyword argument '(\w+)'|^Invalid value for '(\w+)'", str(error))
    if option:
        return f"the option '{option[1] or option[2]}' in the address does not exist, or has a wrong value"
    return (
        "not an address such as redis://user:password@host:6379/0;"
        " in a password, characters such as / @ : # and % are written as %2F %40 %3A %23 and %25"
    )


class RedisStore(RedisTurnStore, RedisHistoryStore, RedisNodeRegistry, RedisTicketStore):
    """The store that every node of a deployment shares."""

    @property
    def description(self) -> str:
        """Which kind of Redis this is, for people to read; complete after a `check()`."""
        return self._client.description

    async def check(self) -> None:
        """Raises StoreDown, or StoreError for a Redis that is too old or evicts keys."""
        await self._client.check()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._client.close(), self._blocking.close())
