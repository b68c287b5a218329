"""One turn's log under a lease, from the first append of this owner to the terminal event.

WriterError
├── Fenced           another node writes this turn now, or it has ended: an ordinary outcome, stop at once
│   └── TurnEnded    the turn has its terminal event, written by somebody else
└── LogLost          the log is not what we wrote: deleted, or lost by the store beyond recovery
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from server.log.buffer import LogBuffer
from server.log.committer import GroupCommitter
from server.log.recovery import APPLIED, OwnedLog, catch_up
from server.protocol.entry import DELTAS, Event, Open, encode, joined, opened
from server.protocol.status import Status
from server.store.errors import StoreError
from server.store.types import Append, Ending, Item, Lease, LogEntry, NewTurn, TurnRef, WriteResult, WriteStatus


class WriterError(StoreError):
    """This node no longer writes the turn. `result` is the store's answer that showed it."""

    def __init__(self, ref: TurnRef, result: WriteResult) -> None:
        super().__init__(ref, result)
        self.ref = ref
        self.result = result

    def __str__(self) -> str:
        return f"{self.ref.id}: {self.result.status}, log at {self.result.last_seq}, lease {self.result.lease}"


class Fenced(WriterError):  # noqa: N818
    """Another node holds the lease."""


class TurnEnded(Fenced):
    """The turn has its terminal event."""


class LogLost(WriterError):  # noqa: N818
    """The log lacks what was acknowledged, is gone, or the store's answer could not be understood."""


class ClaimedLog(msgspec.Struct, frozen=True):
    """A turn's log as this node found it when it got the lease. The turn's runner builds it, its Writer goes on."""

    ref: TurnRef
    lease: Lease
    last_seq: int  # number of the last event that may have been used; above the last entry's where a claim left a hole
    entries: Sequence[LogEntry]  # the whole log
    open_item: Open | None = None  # the item that the entries leave open
    origin: NewTurn | None = (
        None  # what the turn was admitted with, if here: allows to admit it again to an empty store
    )


OnNews = Callable[["Writer"], None]


class WriterOwner(Protocol):
    """Keeps the buffers of the logs that this node writes, and the tasks that outlive a caller. The journal is one."""

    def spawn(self, work: Coroutine[Any, Any, WriteResult]) -> "asyncio.Task[WriteResult]":
        """Run something that must go on when whoever asked for it is cancelled."""
        ...

    def keep_finished(self, writer: "Writer") -> None:
        """Keep a finished turn's log for a while."""
        ...

    def forget(self, ref: TurnRef, buffer: LogBuffer) -> None:
        """Close the buffer of a turn that this node no longer writes."""
        ...


class Writer:
    """Appends one turn's events and ends the turn. Only the turn's runner calls it, from one task.

    Events that are appended while a call is in flight go out together in the next; text may wait for the next merge
    tick on top. At most one append is in flight, so numbers never overtake each other.
    """

    def __init__(
        self, owner: WriterOwner, committer: GroupCommitter, buffer: LogBuffer, log: ClaimedLog, on_news: OnNews | None
    ) -> None:
        self.ref = log.ref
        self.buffer = buffer
        # Number of the last event that was appended, and of the last one that is in the log.
        self.last_seq = log.last_seq
        self.acknowledged = log.last_seq
        # A cancel of the turn was asked for.
        self.stopped = False
        # Why this turn is no longer ours to write.
        self.error: WriterError | None = None
        self._owner = owner
        self._committer = committer
        self._owned = OwnedLog(log.ref, log.lease, buffer, log.origin)
        self._on_news = on_news
        # Events that wait for the next append, and the item that is open where they begin.
        self._pending: list[Event] = []
        self._open_item = log.open_item
        # When more text may go out, in the loop's time.
        self._text_due = 0.0
        # The append that was sent and not yet answered.
        self._in_flight: Append | None = None
        # finish() was called; what it writes, from when its append is frozen; and whether that is in the log.
        self._finishing = False
        self._ending: Ending | None = None
        self._finished = False
        # Bytes that a finished turn takes until it is forgotten.
        self.kept_bytes = 0
        # Calls that wait for the next result.
        self._waiting: list[asyncio.Future[None]] = []
        committer.register(self)

    @property
    def lease(self) -> Lease:
        """The lease that we write under. It changes when the store came back older and we had to claim again."""
        return self._owned.lease

    @property
    def has_room(self) -> bool:
        """Whether events are accepted, and few enough are unacknowledged."""
        return self.error is None and self.last_seq - self.acknowledged < self._committer.policy.max_unacknowledged

    @property
    def merge_due(self) -> float:
        """When text that comes next would go out at the earliest, in the loop's time."""
        return max(self._text_due, self._committer.next_merge_tick())

    def append(self, events: Sequence[Event]) -> None:
        """Hand over events, which are numbered from `last_seq` + 1 and share one entry. Raises WriterError.

        Text that follows text which still waits for the log is merged into its event, and has its number.
        """
        if self.error is not None:
            raise self.error
        if self._finishing:
            raise RuntimeError(f"{self.ref.id} has its terminal event")
        if len(events) == 1 and self._pending and (merged := joined(self._pending[-1], events[0])):
            self._pending[-1] = merged
            return
        self._pending += events
        self.last_seq += len(events)
        if self._in_flight is None and self._pending:
            self._committer.enqueue(self, self._text_due)

    async def wait_for_room(self) -> None:
        """Wait until few enough events are unacknowledged. Raises WriterError."""
        while self.error is None and not self.has_room:
            await self._next_result()
        self._check()

    async def flush(self) -> None:
        """Wait until every event that was appended is in the log. Raises WriterError."""
        while self.acknowledged < self.last_seq:
            await self._next_result()
        self._check()

    async def finish(
        self, events: Sequence[Event], status: Status, response: bytes, output: Sequence[Item] = ()
    ) -> WriteResult:
        """Append the last events, of which one is terminal, and end the turn. Raises WriterError.

        Cancelling the wait does not stop the writing.
        """
        self.append(events)
        self._finishing = True
        self._committer.dequeue(self)
        return await asyncio.shield(self._owner.spawn(self._finish(status, response, tuple(output))))

    async def _finish(self, status: Status, response: bytes, output: tuple[Item, ...]) -> WriteResult:
        while self._in_flight is not None:
            await self._next_result()
        self._check()
        try:
            self._ending = Ending(self.freeze_append(), status, response, output)
            result = await self.ensure_finished()
        except Exception as error:
            self.on_failure(error)
        else:
            self._apply(result)
        self._check()
        self._committer.unregister(self)
        self.kept_bytes = sum(len(entry.entry) for entry in self.buffer.entries) + self._owned.origin_bytes
        self.kept_bytes += len(response) + sum(len(item.json) for item in output)
        self._owner.keep_finished(self)
        return result

    async def ensure_finished(self) -> WriteResult:
        """Write the turn's end, which is applied once however often it is written.

        Called by finish(), and by the journal for a finished turn whose end the store may have lost.
        """
        assert self._ending is not None
        result = await self._committer.finish(self._ending)
        if self._owned.is_ahead_of(result) and (result := await self._catch_up(result)).status in APPLIED:
            last = msgspec.structs.replace(self._ending.append, lease=self.lease)
            self._ending = msgspec.structs.replace(self._ending, append=last)
            if self._in_flight is not None:
                self._in_flight = last
            result = await self._committer.finish(self._ending)
        return result

    def close(self) -> None:
        """Give up writing and drop what is pending. After finish(), and the second time, it does nothing."""
        self._committer.unregister(self)
        self._pending.clear()
        if self._finished:
            self._on_news = None  # the runner, which is done; the journal keeps the log for seconds, and nothing else
        else:
            self._owner.forget(self.ref, self.buffer)

    # -- called by the committer ---------------------------------------------------------------------------------------

    def freeze_append(self) -> Append:
        """Turn everything that is pending into one append, which is in flight from now on and never changed again."""
        events, self._pending = self._pending, []
        after = self.last_seq - len(events)
        self._in_flight = Append(self.ref, self.lease, after, self.last_seq, encode(self._open_item, events))
        for event in events:
            self._open_item = opened(self._open_item, event)
        if events and events[-1].kind in DELTAS:
            self._text_due = self._committer.next_merge_tick()
        return self._in_flight

    def set_stalled(self, *, stalled: bool) -> None:
        """Let the log's readers know whether the store answers."""
        self.buffer.set_stalled(stalled=stalled)

    def on_result(self, result: WriteResult) -> None:
        """Handle the answer to the append in flight. It stays in flight while a store that came back older catches up.

        Catching up runs beside the committer's task: the other turns of the partition go on.
        """
        behind = result.status is not WriteStatus.OK and self._owned.is_ahead_of(result)
        if behind and self.error is None and self._in_flight is not None:
            self._owner.spawn(self._catch_up_and_repeat(self._in_flight, result))
        else:
            self._apply(result)

    def on_failure(self, error: Exception) -> None:
        """Give up: there will be no answer, because of a bug of ours or a server that makes no sense."""
        self._in_flight = None
        lost = LogLost(self.ref, WriteResult(WriteStatus.BROKEN))
        lost.__cause__ = error
        self._give_up(lost)
        self._wake()

    # -- results -------------------------------------------------------------------------------------------------------

    async def _catch_up_and_repeat(self, sent: Append, result: WriteResult) -> WriteResult:
        try:
            result = await self._catch_up(result)
            if result.status in APPLIED:
                self._in_flight = msgspec.structs.replace(sent, lease=self.lease)
                batch = [self._in_flight]
                [result] = await self._committer.until_answered(lambda: self._committer.store.append(batch))
        except Exception as error:
            self.on_failure(error)
        else:
            self._apply(result)
        return result

    async def _catch_up(self, result: WriteResult) -> WriteResult:
        return await catch_up(self._committer, self._owned, result)

    def _apply(self, result: WriteResult) -> None:
        answered, self._in_flight = self._in_flight, None
        if answered is None or self.error is not None:
            return
        if result.status in APPLIED:
            self._acknowledge(answered, result)
        else:
            self._refuse(result)
        self._wake()

    def _acknowledge(self, answered: Append, result: WriteResult) -> None:
        self.acknowledged = answered.last_seq
        self._finished = self._ending is not None and answered is self._ending.append
        self.buffer.extend((LogEntry(answered.last_seq, answered.entry, answered.after_seq, self._finished),))
        if result.stop and not self.stopped:
            self.stopped = True
            self._notify()
        if self._pending and not self._finishing:
            self._committer.enqueue(self, self._text_due)

    def _refuse(self, result: WriteResult) -> None:
        if result.status is WriteStatus.FINISHED:
            self._give_up(TurnEnded(self.ref, result))
        elif result.status is WriteStatus.FENCED and not self._owned.is_ahead_of(result):
            self._give_up(Fenced(self.ref, result))
        else:
            self._give_up(LogLost(self.ref, result))

    def _give_up(self, error: WriterError) -> None:
        self.error = error
        self.close()
        self._notify()

    def _notify(self) -> None:
        if self._on_news is not None:
            asyncio.get_running_loop().call_soon(self._on_news, self)

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def _next_result(self) -> None:
        self._check()
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
