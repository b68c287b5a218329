"""Redis Cluster: 16,384 slots of keys, each held by one master, which other masters point to when it has moved.

The map of slots is read when there is none and when a server in it fails; the answer MOVED corrects one slot. While a
slot migrates, the calls of its partition fail, and are repeated until it has arrived. No script is cut in two by that:
wherever one reaches keys that it does not name, it names a key that never exists, and the server turns such a call away
as a whole.
"""

import asyncio
import random
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, TryAgainError

from server.store.errors import BadAddress, StoreDown
from server.store.redis.client import Client
from server.store.redis.routed import DISCOVERY_TIMEOUT_S, Call, RoutedClient, T, first_answer, host_and_port

PORT = 6379
Slots = dict[int, str]  # slot: host and port of its master


class ClusterClient(RoutedClient):
    """Calls to the masters of one cluster. A lost master stops the calls to its own slots only."""

    def __init__(self, url: str, *, timeout: float = 2.0, limit: int = 16) -> None:
        super().__init__(url, port=PORT, timeout=timeout, limit=limit)
        if self._servers.path.strip("/") not in ("", "0"):
            raise BadAddress(f"{self.address} names a database, and a Redis Cluster has none")
        # Who holds each slot. Empty until the first call.
        self._owners: Slots = {}
        # Every server that can be asked for the map, replicas too.
        self._known = set(self._servers.hosts)
        # Masters that failed since the map was read.
        self._failed: set[str] = set()

    @property
    def description(self) -> str:
        """Which kind of Redis this is, and what is known of it, for people to read."""
        return f"a Redis Cluster of {len(set(self._owners.values()))} masters"

    async def check(self) -> None:
        """Raises StoreDown where no master answers, StoreError where one cannot be relied on."""
        if not self._owners or self._failed:
            await self._read_slots(None)
        masters = sorted(set(self._owners.values()))
        results = await asyncio.gather(*(self._unreachable(self._client(server)) for server in masters))
        errors = [error for error in results if error is not None]
        if len(errors) == len(masters):
            raise errors[0]

    async def _unreachable(self, client: Client) -> StoreDown | None:
        try:
            async with asyncio.timeout(DISCOVERY_TIMEOUT_S):
                await client.check("cluster")
        except TimeoutError:
            return StoreDown(f"Redis at {client.address} did not answer within {DISCOVERY_TIMEOUT_S:g} s")
        except StoreDown as error:
            return error
        return None

    async def _send(self, key: str, call: Call[T]) -> T:
        """A call; once more where its slot has moved, as it was not applied then."""
        try:
            return await super()._send(key, call)
        except StoreDown as error:
            if not isinstance(error.__cause__, MovedError):
                raise
        return await super()._send(key, call)

    async def _locate(self, key: str) -> str:
        slot = key_slot(key.encode())
        if not self._is_known(slot):
            await self._read_slots(slot)
        if slot not in self._owners:
            raise StoreDown(f"no server of the cluster at {self.address} holds slot {slot}")
        return self._owners[slot]

    def _is_known(self, slot: int | None) -> bool:
        return slot in self._owners and self._owners[slot] not in self._failed

    async def _read_slots(self, slot: int | None) -> None:
        """Read the map, unless another call did while this one waited. Servers that failed are asked last."""
        async with self._discovery:
            if self._is_known(slot):
                return
            order = sorted(self._known, key=lambda server: (server in self._failed, random.random()))
            try:
                client, answer = await first_answer(map(self._client, order), "CLUSTER", "SLOTS")
            except StoreDown:
                self._known |= set(self._servers.hosts)  # they may all have other addresses by now
                raise
            answering = next(server for server in order if self._clients.get(server) is client)
            self._owners, self._known = parse_slots(answer, answering)
            self._failed.clear()
            await self._keep_only(self._known)

    def _distrust(self, server: str, key: str, error: StoreDown) -> None:
        cause = error.__cause__
        if isinstance(cause, MovedError):
            self._owners[key_slot(key.encode())] = host_and_port(cause.host.strip("?") or _host(server), cause.port)
        elif not isinstance(cause, AskError | TryAgainError):
            self._failed.add(server)


def parse_slots(answer: Any, answering: str) -> tuple[Slots, set[str]]:
    """The master of each slot, and all servers, from what the server `answering` said to CLUSTER SLOTS.

    A server that does not know how it is reached gives no name, or "?": it has the host of the one that answered.
    """
    owners: Slots = {}
    known: set[str] = set()
    for low, high, *holders in answer:
        names = [
            host_and_port((host or b"").decode().strip("?") or _host(answering), port) for host, port, *_ in holders
        ]
        owners |= dict.fromkeys(range(low, high + 1), names[0])
        known |= set(names)
    return owners, known


def _host(server: str) -> str:
    return server.rpartition(":")[0].strip("[]")
