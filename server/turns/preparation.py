"""How much a node prepares at once: requests that are read and not admitted yet, with their histories and prompts.

A prompt takes many times the bytes that it is made of, so what is prepared is bounded by its size, which is known
before any of it is loaded. Whatever a request brings itself is held from the beginning, and refused where that is too
much; what it goes on from is loaded once there is room, and those for whom there is none wait without it. The small
ones have room of their own, so that no ordinary request waits behind large ones.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from server.protocol import errors
from server.protocol.budget import ByteBudget, too_many_bytes
from server.store.contracts import ALL

SMALL_BYTES = 64 * 1024  # of request and history as JSON, up to which a request is a small one
SMALL_WEIGHT = 1024 * 1024  # bytes that a small one takes in memory by itself, at most
HISTORY_WEIGHT = 8  # bytes in memory for each of a history: as it came, as items, as messages
OWN_WEIGHT = 4096  # bytes that a request takes, whatever is in it
LARGE_AT_ONCE = 2  # large ones; each keeps a thread busy, and one thread is left for all others
UNBOUNDED = 1 << 30  # at once
PREPARING_BYTES = 128 * 1024 * 1024  # of all that a node prepares, if nobody says otherwise
PATIENCE_SECONDS = 10.0  # that a request waits for room


class _Waiting(msgspec.Struct, eq=False):
    """Somebody who waits for room."""

    weight: int
    admitted: asyncio.Future[None]


class Room:
    """Bytes for work of one kind, and how many may do such work at once. Callers whose work waits take turns."""

    def __init__(self, limit: int, at_once: int = UNBOUNDED) -> None:
        self.limit = limit
        self.held = 0
        self.inside = 0
        self._at_once = at_once
        self._waiting: dict[str, deque[_Waiting]] = {}  # by caller; who is first is let in next

    @property
    def is_empty(self) -> bool:
        """Nobody is inside, and nobody waits."""
        return not self.inside and not self._waiting

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    async def enter(self, caller: str, weight: int, patience: float | None) -> None:
        """Wait until there is room, and take it. Raises WireError 503 where that takes longer than `patience` seconds.

        Cancelled, nothing is taken. Who needs more than there is in all gets everything: `leave` the same weight.
        """
        if not self._waiting and self._fits(weight):
            self._take(weight)
            return
        waiting = _Waiting(weight, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(caller, deque()).append(waiting)
        try:
            async with asyncio.timeout(patience):
                await waiting.admitted
        except BaseException as error:
            if waiting.admitted.cancelled():
                self._let_in()  # it may have kept others out who need less
            else:
                self.leave(weight)
            if isinstance(error, TimeoutError):
                raise errors.overloaded(
                    "This node has no room to prepare the request, and had none for a while."
                ) from None
            raise

    def leave(self, weight: int) -> None:
        """Give the room back to whoever is next."""
        self.inside -= 1
        self.give_back(weight)

    def give_back(self, weight: int) -> None:
        """Stay, with so many bytes less."""
        self.held -= weight
        self._let_in()

    def _fits(self, weight: int) -> bool:
        if not self.inside:
            return True
        return self.inside < self._at_once and self.held + weight <= self.limit

    def _take(self, weight: int) -> None:
        self.inside += 1
        self.held += weight

    def _let_in(self) -> None:
        while self._waiting:
            caller, line = next(iter(self._waiting.items()))
            while line and line[0].admitted.cancelled():  # who gave up is still in line until then
                line.popleft()
            if line and not self._fits(line[0].weight):
                return
            del self._waiting[caller]
            if not line:
                continue
            first = line.popleft()
            if line:
                self._waiting[caller] = line  # behind all others
            self._take(first.weight)
            first.admitted.set_result(None)


class Preparations:
    """All requests that a node prepares. They hold about `limit` bytes together."""

    def __init__(self, limit: int = PREPARING_BYTES, patience: float = PATIENCE_SECONDS) -> None:
        self.small_bodies, self.large_bodies = ByteBudget(limit // 8), ByteBudget(limit * 3 // 8)
        self.small, self.large = Room(limit // 8), Room(limit * 3 // 8, LARGE_AT_ONCE)
        self.longest = limit // 8  # bytes of a history as JSON, above which it is not loaded at all
        self.patience = patience  # seconds that a request waits for room
        self._conversations: dict[tuple[str, str], Room] = {}  # in which turns are being admitted

    @asynccontextmanager
    async def begin(self, caller: str, size: int = 0, weight: int = 0) -> AsyncIterator["Preparation"]:
        """Prepare a request of `size` bytes, which takes `weight` in memory, while the block lasts.

        Raises WireError 429 where requests take all the memory they may.
        """
        is_small = size <= SMALL_BYTES and weight <= SMALL_WEIGHT
        bodies = self.small_bodies if is_small else self.large_bodies
        held = min(OWN_WEIGHT + weight, bodies.limit)
        if not bodies.take(caller, held):
            raise too_many_bytes()
        preparation = Preparation(self, caller, SMALL_BYTES - size if is_small else -1, self.longest, self.patience)
        try:
            yield preparation
        finally:
            preparation.leave()
            bodies.give_back(caller, held)

    @asynccontextmanager
    async def resume(self, caller: str) -> AsyncIterator["Preparation"]:
        """Prepare a turn that was admitted before: it has been let in, so it waits for as long as it takes."""
        preparation = Preparation(self, caller, SMALL_BYTES, ALL, None)
        try:
            yield preparation
        finally:
            preparation.leave()

    @asynccontextmanager
    async def alone(self, caller: str, conversation: str | None) -> AsyncIterator[None]:
        """Be the only one on this node that is admitted to a conversation, while the block lasts: it will be locked.

        Raises WireError 503 where that takes too long. None: there is nothing to be alone in.
        """
        if conversation is None:
            yield
            return
        key = (caller, conversation)
        room = self._conversations.setdefault(key, Room(1, at_once=1))
        try:
            await room.enter(caller, 0, self.patience)
            try:
                yield
            finally:
                room.leave(0)
        finally:
            if room.is_empty:
                self._conversations.pop(key, None)


class Preparation:
    """One request that is being prepared, and the room that it has for its history."""

    __slots__ = ("_caller", "_patience", "_room", "_rooms", "_weight", "longest", "small_bytes")

    def __init__(
        self, rooms: Preparations, caller: str, small_bytes: int, longest: int, patience: float | None
    ) -> None:
        self.small_bytes = small_bytes  # of a history with which this is still a small request; -1: it is none
        self.longest = longest  # bytes of a history that is loaded
        self._rooms = rooms
        self._caller = caller
        self._patience = patience
        self._room: Room | None = None  # once it has entered one
        self._weight = 0  # that it holds there

    async def enter(self, history: int) -> None:
        """Have room for a history of so many bytes, instead of the room before. Raises WireError 503."""
        room = self._rooms.small if history <= self.small_bytes else self._rooms.large
        weight = min(HISTORY_WEIGHT * history, room.limit)
        if room is self._room and weight <= self._weight:
            room.give_back(self._weight - weight)
        else:
            self.leave()
            await room.enter(self._caller, weight, self._patience)
            self._room = room
        self._weight = weight

    def leave(self) -> None:
        """Have no room any more. May be called twice."""
        if self._room is not None:
            self._room.leave(self._weight)
            self._room = None
