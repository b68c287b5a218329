"""One partition's writing: what gathers goes out in one call, and one call is in flight."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from server.store.contracts import Store
from server.store.errors import StoreDown, StoreFull
from server.store.types import Append, Ending, WriteResult

T = TypeVar("T")


class CommitPolicy(msgspec.Struct, frozen=True):
    """How the journal bounds and repeats."""

    max_unacknowledged: int = 2000  # unacknowledged events of one turn
    merge_seconds: float = (
        0.02  # seconds between two entries of one turn's text, about: each costs the same, long or short
    )
    stall_seconds: float = 0.25  # seconds without an answer until it is said that the log stalls
    first_retry: float = 0.02  # before the first repeat; doubled up to
    max_retry: float = 0.5
    max_turns: int = 256  # in one call, and
    max_bytes: int = 1_000_000  # in one call, so that after a stall no call is too big to be answered in time


class BatchSource(Protocol):
    """What the scribe needs of a writer."""

    def freeze_batch(self) -> Append:
        """Its share of the next batch."""
        ...

    def on_result(self, outcome: WriteResult) -> None:
        """The answer to it."""
        ...

    def on_failure(self, error: Exception) -> None:
        """No answer will ever come."""
        ...

    def set_stalled(self, *, stalled: bool) -> None:
        """Whether the log answers."""
        ...


class GroupCommitter:
    """Owns one task. Calls are repeated until they are answered, whoever waits."""

    def __init__(self, store: Store, pace: CommitPolicy, stall_changed: Callable[[], None]) -> None:
        self.store = store
        self.policy = pace
        # No call was answered for `pace.stall` seconds while one is in flight.
        self.stalled = False
        self._stall_changed = stall_changed
        self._pens: set[BatchSource] = set()
        # Writers with pending events, in the order in which they came.
        self._ready: dict[BatchSource, None] = {}
        # Writers whose latest entry is too young, and when it is old enough; then the timer for the first of them.
        self._resting: dict[BatchSource, float] = {}
        self._rest_over: asyncio.TimerHandle | None = None
        # The loop waits on this while nobody is ready; set by call_soon, after a whole engine step was handed over.
        self._idle: asyncio.Future[None] | None = None
        self._calls = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """End the task. A call in flight may or may not be applied."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._disarm()
        if self._rest_over is not None:
            self._rest_over.cancel()

    def register(self, pen: BatchSource) -> None:
        """A writer begins."""
        self._pens.add(pen)
        pen.set_stalled(stalled=self.stalled)

    def unregister(self, pen: BatchSource) -> None:
        """A writer ends."""
        self._pens.discard(pen)
        self.discard(pen)

    def discard(self, pen: BatchSource) -> None:
        """What this one has pending goes out by another call."""
        self._ready.pop(pen, None)
        self._resting.pop(pen, None)

    def enqueue(self, pen: BatchSource, due: float = 0.0) -> None:
        """This one has something pending and nothing in flight. It can wait until `due`, in the loop's time."""
        if pen in self._ready or pen in self._resting:
            return
        if due > self._loop.time():
            self._resting[pen] = due
            if self._rest_over is None:
                self._rest_over = self._loop.call_at(due, self._rouse)
            return
        self._ready[pen] = None
        self._start()

    def next_merge_tick(self) -> float:
        """When text that follows an entry of now may go out: for all at once, since a call costs more than a turn.

        That is a quarter of a rest from now or more, so that a timer which is a little early makes no rest of nothing.
        """
        rest = self.policy.merge_seconds
        return ((self._loop.time() + rest / 4) // rest + 1) * rest if rest else 0.0

    def _rouse(self) -> None:
        self._rest_over = None
        now = self._loop.time() + 0.001
        for pen in [pen for pen, due in self._resting.items() if due <= now]:
            del self._resting[pen]
            self._ready[pen] = None
        if self._resting:
            self._rest_over = self._loop.call_at(min(self._resting.values()), self._rouse)
        if self._ready:
            self._start()

    def _start(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            self._loop.call_soon(_resolve, idle)

    async def _run(self) -> None:
        while True:
            if not self._ready:
                self._idle = self._loop.create_future()
                await self._idle
            else:
                await asyncio.sleep(0)  # let the rest of an engine step come in
            await self._commit()

    async def _commit(self) -> None:
        pens, batch = self._gather()
        if not batch:
            return
        try:
            outcomes = await self.until_answered(lambda: self.store.append(batch))
        except Exception as error:  # whatever it is, it must not end the writing of everybody else
            for pen in pens:
                pen.on_failure(error)
        else:
            for pen, outcome in zip(pens, outcomes, strict=True):
                pen.on_result(outcome)

    def _gather(self) -> tuple[list[BatchSource], list[Append]]:
        pens: list[BatchSource] = []
        batch: list[Append] = []
        size = 0
        while self._ready and len(batch) < self.policy.max_turns and size < self.policy.max_bytes:
            pen = next(iter(self._ready))
            del self._ready[pen]
            try:
                batch.append(pen.freeze_batch())
            except Exception as error:  # an event that cannot be packed stops its own turn
                pen.on_failure(error)
            else:
                pens.append(pen)
                size += len(batch[-1].entry)
        return pens, batch

    async def finish(self, ending: Ending) -> WriteResult:
        """End a turn beside the batches: nothing of it is in flight."""
        return await self.until_answered(lambda: self.store.finish(ending))

    async def until_answered(self, call: Callable[[], Awaitable[T]]) -> T:
        """The same call until it is answered. Raises what no repeat can help."""
        pause = self.policy.first_retry
        self._begin()
        try:
            while True:
                try:
                    return await call()
                except (StoreDown, StoreFull):
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, self.policy.max_retry)
        finally:
            self._end()

    def _begin(self) -> None:
        self._calls += 1
        if self._alarm is None:
            self._arm()

    def _end(self) -> None:
        self._calls -= 1
        self._disarm()
        self._set(stalled=False)
        if self._calls:
            self._arm()

    def _arm(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(self.policy.stall_seconds, lambda: self._set(stalled=True))

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _set(self, *, stalled: bool) -> None:
        if stalled == self.stalled:
            return
        self.stalled = stalled
        for pen in self._pens:
            pen.set_stalled(stalled=stalled)
        self._stall_changed()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
