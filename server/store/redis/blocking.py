"""Reads that block until a log grows: their connections wait longer than a command may take."""

from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio.connection import AbstractConnection

from server.store.redis.client import Client, exchange
from server.store.redis.lua_call import Arg
from server.store.redis.routed import RoutedClient

LATE_ANSWER_S = 1.0  # a blocking read may be answered so much later than it asked for


class BlockingReader:
    """One read at a time in each partition, on connections that nothing else uses."""

    def __init__(self, client: Client | RoutedClient) -> None:
        self._client = client
        # Where a partition is being read now: the server, and the connection's id there.
        self._reading: dict[int, tuple[Client, int]] = {}
        # The ids that servers gave to connections.
        self._ids: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()

    async def read(self, partition: int, key: str, command: tuple[Arg, ...], wait: float) -> Any:
        """A command that may block for `wait` seconds, where `key` is. Raises StoreDown, StoreError."""
        async with self._client.server_of(key) as client, client.connection() as connection:
            self._reading[partition] = client, await self._id_of(client, connection)
            try:
                return await exchange(connection, command, wait + LATE_ANSWER_S, client.address)
            finally:
                del self._reading[partition]

    async def _id_of(self, client: Client, connection: AbstractConnection) -> int:
        """The id of a connection at its server; asked once while the connection lasts."""
        if not connection.is_connected or connection not in self._ids:
            self._ids[connection] = await exchange(connection, ("CLIENT", "ID"), LATE_ANSWER_S, client.address)
        return self._ids[connection]

    async def wake(self, partition: int) -> None:
        """Make the read that blocks in a partition return now. Without one, nothing happens."""
        if partition in self._reading:
            client, id = self._reading[partition]
            await client.call("CLIENT", "UNBLOCK", id)

    async def close(self) -> None:
        """Close the connections. A read that blocks ends in StoreDown."""
        self._ids.clear()
        await self._client.close()
