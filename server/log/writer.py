"""One turn's writing under a lease.

WriterError
├── Fenced           another node writes this turn now, or it has ended: an ordinary outcome, stop at once
│   └── Ended        the turn has its terminal event, written by somebody else
└── Lost             the log is not what we wrote: deleted, or Redis came back older
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from server.log.buffer import LogBuffer
from server.log.committer import GroupCommitter
from server.log.recovery import APPLIED, OwnedLog, catch_up, is_behind
from server.protocol.entry import DELTAS, Event, Open, encode, joined, opened
from server.protocol.status import Status
from server.store.errors import StoreError
from server.store.types import Append, Ending, Item, Lease, LogEntry, NewTurn, TurnRef, WriteResult, WriteStatus


class WriterError(StoreError):
    """This node's writing of a turn is over."""

    def __init__(self, ref: TurnRef, outcome: WriteResult) -> None:
        super().__init__(ref, outcome)
        self.ref = ref
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.ref.id}: {self.outcome.status}, log at {self.outcome.last_seq}, lease {self.outcome.lease}"


class Fenced(WriterError):  # noqa: N818
    """Another node holds the lease."""


class TurnEnded(Fenced):
    """The turn has its terminal event."""


class LogLost(WriterError):  # noqa: N818
    """The log lacks what was acknowledged, or is gone."""


OnNews = Callable[["Writer"], None]


class WriterOwner(Protocol):
    """Where the logs that this node writes are kept."""

    def spawn(self, work: Coroutine[Any, Any, WriteResult]) -> "asyncio.Task[WriteResult]":
        """Run something that must go on when whoever asked for it is cancelled."""
        ...

    def keep_finished(self, writer: "Writer") -> None:
        """Keep a finished turn's log for a while."""
        ...

    def forget(self, ref: TurnRef, tail: LogBuffer) -> None:
        """Forget a turn that we no longer write."""
        ...


class Writer:
    """One turn's pen. Only its runner uses it."""

    def __init__(
        self,
        shelf: WriterOwner,
        scribe: GroupCommitter,
        tail: LogBuffer,
        ref: TurnRef,
        lease: Lease,
        top: int,
        open_item: Open | None,
        told: OnNews | None,
        origin: NewTurn | None,
    ) -> None:
        self.ref = ref
        self.tail = tail
        self._held = OwnedLog(lease, tail, origin)
        # Number of the last event that was appended, and of the last one that is in the log.
        self.last_seq = top
        self.acknowledged = top
        # Somebody asked for a stop.
        self.stopped = False
        # Why this turn is no longer ours to write.
        self.error: WriterError | None = None
        self._shelf = shelf
        self._scribe = scribe
        self._told = told
        # Events that wait for the next batch, and the item that is open where they begin.
        self._pending: list[Event] = []
        self._open = open_item
        # When more text may go out, in the loop's time.
        self._due = 0.0
        # Our share of the batch that was sent.
        self._flying: Append | None = None
        # The terminal event was handed over; then the append that holds it; then it is in the log.
        self._ending = False
        self._final: Append | None = None
        self._ended: Ending | None = None
        self._finished = False
        self._waiting: list[asyncio.Future[None]] = []
        scribe.register(self)

    @property
    def lease(self) -> Lease:
        """What we write under. It changes when Redis came back older and we had to claim again."""
        return self._held.lease

    def append(self, events: Sequence[Event]) -> None:
        """Hand over events, numbered from top + 1. They share one entry. Raises Fenced, Lost.

        What follows a piece of text that still waits for the log becomes one piece with it, and has its number.
        """
        if self.error is not None:
            raise self.error
        if self._ending:
            raise RuntimeError(f"{self.ref.id} has its terminal event")
        if len(events) == 1 and self._pending and (whole := joined(self._pending[-1], events[0])):
            self._pending[-1] = whole
            return
        self._pending += events
        self.last_seq += len(events)
        if self._flying is None and self._pending:
            self._scribe.enqueue(self, self._due)

    @property
    def has_room(self) -> bool:
        """Whether events are taken and few enough are unacknowledged."""
        return self.error is None and self.last_seq - self.acknowledged < self._scribe.policy.max_unacknowledged

    @property
    def merge_due(self) -> float:
        """When text that comes next would go out at the earliest, in the loop's time."""
        return max(self._due, self._scribe.next_merge_tick())

    async def wait_for_room(self) -> None:
        """Wait until few enough events are unacknowledged. Raises Fenced, Lost."""
        while self.error is None and not self.has_room:
            await self._settled()
        self._check()

    async def flushed(self) -> None:
        """Wait until everything is in the log. Raises Fenced, Lost."""
        while self.acknowledged < self.last_seq:
            await self._settled()
        self._check()

    async def finish(
        self, events: Sequence[Event], status: Status, response: bytes, output: Sequence[Item] = ()
    ) -> WriteResult:
        """Append the last events, of which one is terminal, and end the turn. Raises Fenced, Ended, Lost.

        Cancelling the wait does not stop the writing.
        """
        self.append(events)
        self._ending = True
        self._scribe.discard(self)
        return await asyncio.shield(self._shelf.spawn(self._end(status, response, tuple(output))))

    async def _end(self, status: Status, response: bytes, output: tuple[Item, ...]) -> WriteResult:
        while self._flying is not None:
            await self._settled()
        self._check()
        try:
            self._final = self.freeze_batch()
            outcome = await self._put_end(status, response, output)
        except Exception as error:
            self.on_failure(error)
        else:
            self._take(outcome)
        self._check()
        self._scribe.unregister(self)
        self._shelf.keep_finished(self)
        return outcome

    async def _put_end(self, status: Status, response: bytes, output: tuple[Item, ...]) -> WriteResult:
        assert self._final is not None
        self._ended = Ending(self._final, status, response, output)
        return await self.ensure_finished()

    async def ensure_finished(self) -> WriteResult:
        """Write the end, once more where Redis may have come back without it. It is written once only."""
        assert self._ended is not None
        outcome = await self._scribe.finish(self._ended)
        if self._is_behind(outcome) and (outcome := await self._caught_up(outcome)).status in APPLIED:
            final = msgspec.structs.replace(self._ended.append, lease=self.lease)
            self._ended = msgspec.structs.replace(self._ended, append=final)
            if self._flying is not None:
                self._flying = self._final = final
            outcome = await self._scribe.finish(self._ended)
        return outcome

    def close(self) -> None:
        """Give up writing. What is pending is forgotten. After finish(), and the second time, it does nothing."""
        self._scribe.unregister(self)
        self._pending.clear()
        if not self._finished:
            self._shelf.forget(self.ref, self.tail)

    # -- for the scribe ------------------------------------------------------------------------------------------

    def freeze_batch(self) -> Append:
        """Everything that is pending, as one entry that is never changed again."""
        events, self._pending = self._pending, []
        after = self.last_seq - len(events)
        self._flying = Append(self.ref, self.lease, after, self.last_seq, encode(self._open, events))
        for event in events:
            self._open = opened(self._open, event)
        if events and events[-1].kind in DELTAS:
            self._due = self._scribe.next_merge_tick()
        return self._flying

    def set_stalled(self, *, stalled: bool) -> None:
        """Tell the viewers whether the log answers."""
        self.tail.set_stalled(stalled=stalled)

    def on_result(self, outcome: WriteResult) -> None:
        """Take the answer to what was frozen. Where Redis came back older, that is still in flight for a while."""
        behind = outcome.status is not WriteStatus.OK and self._is_behind(outcome)
        if behind and self.error is None and self._flying is not None:
            self._shelf.spawn(self._again(self._flying, outcome))
        else:
            self._take(outcome)

    async def _again(self, flying: Append, outcome: WriteResult) -> WriteResult:
        try:
            outcome = await self._caught_up(outcome)
            if outcome.status in APPLIED:
                batch = [self._renewed(flying)]
                [outcome] = await self._scribe.until_answered(lambda: self._scribe.store.append(batch))
        except Exception as error:
            self.on_failure(error)
        else:
            self._take(outcome)
        return outcome

    async def _caught_up(self, outcome: WriteResult) -> WriteResult:
        return await catch_up(self._scribe, self._held, self.ref, outcome)

    def _is_behind(self, outcome: WriteResult) -> bool:
        return is_behind(self._held.lease, outcome, self._held.origin)

    def _renewed(self, frozen: Append) -> Append:
        self._flying = msgspec.structs.replace(frozen, lease=self.lease)
        return self._flying

    def _take(self, outcome: WriteResult) -> None:
        flying, self._flying = self._flying, None
        if flying is None or self.error is not None:
            return
        if outcome.status in APPLIED:
            self._acknowledge(flying, outcome)
        else:
            self._refused(outcome)
        self._wake()

    def _acknowledge(self, flying: Append, outcome: WriteResult) -> None:
        self.acknowledged = flying.last_seq
        self._finished = flying is self._final
        self.tail.extend((LogEntry(flying.last_seq, flying.entry, flying.after_seq, self._finished),))
        if outcome.stop and not self.stopped:
            self.stopped = True
            self._tell()
        if self._pending and not self._ending:
            self._scribe.enqueue(self, self._due)

    def _refused(self, outcome: WriteResult) -> None:
        if outcome.status is WriteStatus.FINISHED:
            self._give_up(TurnEnded(self.ref, outcome))
        elif outcome.status is WriteStatus.FENCED and not self._is_behind(outcome):
            self._give_up(Fenced(self.ref, outcome))
        else:
            self._give_up(LogLost(self.ref, outcome))

    def on_failure(self, error: Exception) -> None:
        """Take it that no answer will come: a bug of ours, or a server that makes no sense."""
        self._flying = None
        lost = LogLost(self.ref, WriteResult(WriteStatus.BROKEN))
        lost.__cause__ = error
        self._give_up(lost)
        self._wake()

    def _give_up(self, error: WriterError) -> None:
        self.error = error
        self.close()
        self._tell()

    def _tell(self) -> None:
        if self._told is not None:
            asyncio.get_running_loop().call_soon(self._told, self)

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def _settled(self) -> None:
        self._check()
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
