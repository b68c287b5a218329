"""One partition's group commit: everything that gathers goes out in one call, and one call is in flight."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from server.background import Supervisor
from server.store.contracts import Store
from server.store.errors import StoreDown, StoreFull
from server.store.types import Append, Ending, WriteResult

T = TypeVar("T")

EARLY_SECONDS = 0.001  # by which a timer may fire too early: uvloop counts whole milliseconds


class CommitPolicy(msgspec.Struct, frozen=True):
    """Bounds on what is unacknowledged and on one call, how long text is merged, and how calls are repeated."""

    max_unacknowledged: int = 2000  # events of one turn that may be handed over and not yet in the log
    merge_seconds: float = 0.02  # between two entries of one turn's text, about: an entry costs the same at any length
    stall_seconds: float = 0.25  # a call may go unanswered before the log counts as stalled
    first_retry: float = 0.02  # seconds before the first repeat of a call; doubled with each, up to
    max_retry: float = 0.5
    max_turns: int = 256  # in one call
    max_bytes: int = 1_000_000  # in one call, about: after a stall no call is too big to be answered in time


class BatchSource(Protocol):
    """One turn's writer, as the committer sees it. It has at most one append in flight."""

    def freeze_append(self) -> Append:
        """Turn everything that is pending into one append, which is in flight from now on and never changed again."""
        ...

    def on_result(self, result: WriteResult) -> None:
        """Handle the store's answer to the append in flight."""
        ...

    def on_failure(self, error: Exception) -> None:
        """Handle an error that no repeat of the call can help."""
        ...

    def set_stalled(self, *, stalled: bool) -> None:
        """Learn whether the store answers. Called at registration and with each change."""
        ...


class GroupCommitter:
    """Commits the appends of all writers of one partition, in one task with one call in flight.

    A batch that was sent is frozen: it is repeated byte for byte until the store answers, since the store may have
    applied it although no answer came. Each append of a batch is answered on its own.
    """

    def __init__(self, store: Store, policy: CommitPolicy, supervisor: Supervisor | None = None) -> None:
        self.store = store
        self.policy = policy
        # A call is in flight, and none was answered for `policy.stall_seconds`.
        self.stalled = False
        self._sources: set[BatchSource] = set()
        # Sources with something pending, in the order in which they came.
        self._ready: dict[BatchSource, None] = {}
        # Sources whose text still merges, with the time when it may go out; and the timer for the first of them.
        self._merging: dict[BatchSource, float] = {}
        self._merge_timer: asyncio.TimerHandle | None = None
        # The task waits on this while nothing is ready. Resolved by call_soon, after a whole engine step was handed in.
        self._idle: asyncio.Future[None] | None = None
        # The batch that was sent and not yet answered, and the source of each append. Whoever comes after a task that
        # was killed repeats it.
        self._sent: tuple[list[BatchSource], list[Append]] | None = None
        self._calls_in_flight = 0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._task = (supervisor or Supervisor()).start("committer", self._run)

    async def close(self) -> None:
        """End the task. A call in flight may or may not be applied."""
        await self._task.end()
        self._stop_stall_timer()
        if self._merge_timer is not None:
            self._merge_timer.cancel()

    def register(self, source: BatchSource) -> None:
        """Add a writer, which is told of stalls from now on."""
        self._sources.add(source)
        source.set_stalled(stalled=self.stalled)

    def unregister(self, source: BatchSource) -> None:
        """Remove a writer. What it has pending is not written."""
        self._sources.discard(source)
        self.dequeue(source)

    def enqueue(self, source: BatchSource, due: float = 0.0) -> None:
        """Ask for an append of this source, which has none in flight. It can merge until `due`, in the loop's time."""
        if source in self._ready or source in self._merging:
            return
        if due > self._loop.time():
            self._merging[source] = due
            if self._merge_timer is None:
                self._merge_timer = self._loop.call_at(due, self._end_merging)
            return
        self._ready[source] = None
        self._wake_task()

    def dequeue(self, source: BatchSource) -> None:
        """Take back what enqueue() asked for: what is pending goes out by another call."""
        self._ready.pop(source, None)
        self._merging.pop(source, None)

    def next_merge_tick(self) -> float:
        """When text that follows an entry of now may go out, in the loop's time; 0.0 where nothing is merged.

        All turns share these ticks, since a call costs more than a turn in it. The next tick is a quarter of an
        interval away or more, so that a timer which fires a little early does not shorten an interval to nothing.
        """
        interval = self.policy.merge_seconds
        return ((self._loop.time() + interval / 4) // interval + 1) * interval if interval else 0.0

    async def finish(self, ending: Ending) -> WriteResult:
        """End a turn by a call of its own, beside the batches. Nothing else of that turn may be in flight."""
        return await self.until_answered(lambda: self.store.finish(ending))

    async def until_answered(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat the same call until the store answers it. Raises what no repeat can help."""
        pause = self.policy.first_retry
        self._on_call_begin()
        try:
            while True:
                try:
                    return await call()
                except (StoreDown, StoreFull):
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(2 * pause, self.policy.max_retry)
        finally:
            self._on_call_end()

    # -- batches -----------------------------------------------------------------------------------------------------

    def _end_merging(self) -> None:
        self._merge_timer = None
        now = self._loop.time() + EARLY_SECONDS
        for source in [source for source, due in self._merging.items() if due <= now]:
            del self._merging[source]
            self._ready[source] = None
        if self._merging:
            self._merge_timer = self._loop.call_at(min(self._merging.values()), self._end_merging)
        if self._ready:
            self._wake_task()

    def _wake_task(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            self._loop.call_soon(_resolve, idle)

    async def _run(self) -> None:
        while True:
            if self._sent is None:
                await self._wait_until_ready()
                self._sent = self._gather()
            await self._commit(*self._sent)
            self._sent = None

    async def _wait_until_ready(self) -> None:
        if not self._ready:
            self._idle = self._loop.create_future()
            await self._idle
        else:
            await asyncio.sleep(0)  # let the rest of an engine step come in

    async def _commit(self, sources: list[BatchSource], batch: list[Append]) -> None:
        """Write a batch and hand each source its answer. Whatever is wrong with one of them must not end the others."""
        if not batch:
            return
        try:
            results = await self.until_answered(lambda: self.store.append(batch))
            answers = list(zip(sources, results, strict=True))
        except Exception as error:
            for source in sources:
                source.on_failure(error)
            return
        for source, result in answers:
            try:
                source.on_result(result)
            except Exception as error:
                source.on_failure(error)

    def _gather(self) -> tuple[list[BatchSource], list[Append]]:
        """The next batch, within the policy's bounds, and the source of each append in it."""
        sources: list[BatchSource] = []
        batch: list[Append] = []
        size = 0
        while self._ready and len(batch) < self.policy.max_turns and size < self.policy.max_bytes:
            source = next(iter(self._ready))
            del self._ready[source]
            try:
                batch.append(source.freeze_append())
            except Exception as error:  # an event that cannot be encoded stops its own turn
                source.on_failure(error)
            else:
                sources.append(source)
                size += len(batch[-1].entry)
        return sources, batch

    # -- stalls ------------------------------------------------------------------------------------------------------

    def _on_call_begin(self) -> None:
        self._calls_in_flight += 1
        if self._stall_timer is None:
            self._start_stall_timer()

    def _on_call_end(self) -> None:
        self._calls_in_flight -= 1
        self._stop_stall_timer()
        self._set_stalled(stalled=False)
        if self._calls_in_flight:
            self._start_stall_timer()

    def _start_stall_timer(self) -> None:
        self._stall_timer = self._loop.call_later(self.policy.stall_seconds, lambda: self._set_stalled(stalled=True))

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _set_stalled(self, *, stalled: bool) -> None:
        if stalled == self.stalled:
            return
        self.stalled = stalled
        for source in self._sources:
            source.set_stalled(stalled=stalled)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
