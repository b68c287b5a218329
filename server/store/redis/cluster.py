"""Redis Cluster: 16,384 slots of keys, each held by one master, which other masters point to when it has moved.

The map of slots is read when there is none and when a server in it fails; "moved" corrects it one slot at a time. A
slot that is on its way is waited for: its partition's calls fail, and are repeated, until it has arrived. No script
can be cut in two by that, since each names a key that never exists among its keys wherever it reaches keys it does
not name, and the server turns such a call away as a whole.
"""

import asyncio
import random
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, TryAgainError

from server.store.errors import StoreDown, StoreError
from server.store.redis.client import Client
from server.store.redis.route import ASK, Call, Routed, first, joined

PORT = 6379
Slots = dict[int, str]  # slot: host and port of its master


class Cluster(Routed):
    """Calls to the masters of one cluster. One that is lost stops the calls to its own slots."""

    def __init__(self, url: str, *, timeout: float = 2.0, limit: int = 16) -> None:
        super().__init__(url, port=PORT, timeout=timeout, limit=limit)
        if self._servers.path.strip("/") not in ("", "0"):
            raise StoreError(f"{self.address} names a database, and a Redis Cluster has none")
        # Empty until the first call.
        self._owners: Slots = {}
        # Every server that can be asked for the map, replicas too.
        self._known = set(self._servers.hosts)
        # Masters that failed since the map was read.
        self._doubts: set[str] = set()

    @property
    def what(self) -> str:
        """What is known of it, in words."""
        return f"a Redis Cluster of {len(set(self._owners.values()))} masters"

    async def check(self) -> None:
        """Raises StoreDown where no master answers, StoreError where one cannot be relied on."""
        if not self._owners or self._doubts:
            await self._look(None)
        masters = sorted(set(self._owners.values()))
        found = await asyncio.gather(*(self._checked(self._client(server)) for server in masters))
        silent = [error for error in found if error is not None]
        if len(silent) == len(masters):
            raise silent[0]

    async def _checked(self, client: Client) -> StoreDown | None:
        try:
            async with asyncio.timeout(ASK):
                await client.check("cluster")
        except TimeoutError:
            return StoreDown(f"Redis at {client.address} did not answer within {ASK:g} s")
        except StoreDown as error:
            return error
        return None

    async def _ask(self, key: str, call: Call) -> Any:
        """A call; once more where its slot has moved: that was no answer to it."""
        try:
            return await super()._ask(key, call)
        except StoreDown as error:
            if not isinstance(error.__cause__, MovedError):
                raise
        return await super()._ask(key, call)

    async def _find(self, key: str) -> str:
        slot = key_slot(key.encode())
        if not self._is_sure(slot):
            await self._look(slot)
        if slot not in self._owners:
            raise StoreDown(f"no server of the cluster at {self.address} holds slot {slot}")
        return self._owners[slot]

    def _is_sure(self, slot: int | None) -> bool:
        return slot in self._owners and self._owners[slot] not in self._doubts

    async def _look(self, slot: int | None) -> None:
        """Read the map, unless somebody did while we waited for our turn; the servers that failed are asked last."""
        async with self._looking:
            if self._is_sure(slot):
                return
            order = sorted(self._known, key=lambda server: (server in self._doubts, random.random()))
            try:
                client, answer = await first(map(self._client, order), "CLUSTER", "SLOTS")
            except StoreDown:
                self._known |= set(self._servers.hosts)  # they may all have other addresses by now
                raise
            asked = next(server for server in order if self._clients.get(server) is client)
            self._owners, self._known = read(answer, asked)
            self._doubts.clear()
            await self._keep(self._known)

    def _doubt(self, server: str, key: str, error: StoreDown) -> None:
        cause = error.__cause__
        if isinstance(cause, MovedError):
            self._owners[key_slot(key.encode())] = joined(cause.host.strip("?") or _host(server), cause.port)
        elif not isinstance(cause, AskError | TryAgainError):
            self._doubts.add(server)


def read(answer: Any, asked: str) -> tuple[Slots, set[str]]:
    """The master of each slot, and all servers, from the answer to CLUSTER SLOTS that `asked` gave.

    A server that does not know how it is reached gives no name, or "?": it is where it was asked.
    """
    owners: Slots = {}
    known: set[str] = set()
    for low, high, *holders in answer:
        names = [joined((host or b"").decode().strip("?") or _host(asked), port) for host, port, *_ in holders]
        owners |= dict.fromkeys(range(low, high + 1), names[0])
        known |= set(names)
    return owners, known


def _host(server: str) -> str:
    return server.rpartition(":")[0].strip("[]")
