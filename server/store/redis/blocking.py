"""Reads that block until a log grows: their connections wait longer than a command may take."""

from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio.connection import AbstractConnection

from server.store.redis.client import Arg, Client, exchange
from server.store.redis.route import Routed

MARGIN = 1.0  # seconds that a blocking read may be answered late


class Blocking:
    """One read at a time in each partition."""

    def __init__(self, client: Client | Routed) -> None:
        self._client = client
        # The server on which a partition is being followed now, and the connection by its number there.
        self._following: dict[int, tuple[Client, int]] = {}
        self._numbers: WeakKeyDictionary[AbstractConnection, int] = WeakKeyDictionary()

    async def read(self, partition: int, key: str, command: tuple[Arg, ...], wait: float) -> Any:
        """A command that may block for `wait` seconds, where `key` is. Raises StoreDown, StoreError."""
        async with self._client.at(key) as client, client.lend() as connection:
            self._following[partition] = client, await self._number(client, connection)
            try:
                return await exchange(connection, command, wait + MARGIN, client.address)
            finally:
                del self._following[partition]

    async def _number(self, client: Client, connection: AbstractConnection) -> int:
        """What Redis calls this connection; asked once while it lasts."""
        if not connection.is_connected or connection not in self._numbers:
            self._numbers[connection] = await exchange(connection, ("CLIENT", "ID"), MARGIN, client.address)
        return self._numbers[connection]

    async def wake(self, partition: int) -> None:
        """Have the read that blocks in a partition return now. Without one, nothing happens."""
        if partition in self._following:
            client, number = self._following[partition]
            await client.call("CLIENT", "UNBLOCK", number)

    async def close(self) -> None:
        """Close the connections."""
        self._numbers.clear()
        await self._client.close()
