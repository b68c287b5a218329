"""The connections, key names and settings with which the four contracts are kept in Redis."""

from collections.abc import Callable

import msgspec

from server.store.redis.blocking import BlockingReader
from server.store.redis.client import Client
from server.store.redis.keys import Keys, Lifetimes
from server.store.redis.routed import RoutedClient
from server.telemetry.unreadable import UnreadableRecords


class Backend(msgspec.Struct, frozen=True):
    """A Redis, and how it is used."""

    client: Client | RoutedClient
    blocking: BlockingReader  # for reads that wait longer than a command may take
    keys: Keys
    lifetimes: Lifetimes
    # Earlier processes of this Redis after which nothing was lost, by their run ids: none, unless it is our own.
    intact_runs: Callable[[], tuple[str, ...]]
    unreadable: UnreadableRecords  # what is passed over where one call reads many records


class RedisPart:
    """The base of the classes that keep one contract each. One object may keep several of them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._client = backend.client
        self._blocking = backend.blocking
        self._keys = backend.keys
        self._lifetimes = backend.lifetimes
        self._unreadable = backend.unreadable

    @property
    def partitions(self) -> int:
        """See `TurnStore.partitions`."""
        return self._keys.partitions

    def partition(self, caller: str) -> int:
        """See `TurnStore.partition`."""
        return self._keys.partition(caller)
