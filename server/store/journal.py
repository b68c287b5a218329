"""The group commit: durable before it is shown, and cheap.

Each partition has one scribe with one append call in flight. Events gather per turn while it is; when it returns,
everything that gathered goes out in the next. A batch that was sent is frozen and repeated byte for byte until it is
answered, and every turn in it is answered on its own.

    WriterError
    ├── Fenced           another node writes this turn now, or it has ended: an ordinary outcome, stop at once
    │   └── Ended        the turn has its terminal event, written by somebody else
    └── Lost             the log is not what we wrote: deleted, or Redis came back older
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from server.protocol.log import Event, Open, encode, opened
from server.protocol.status import Status
from server.store.base import Answer, Append, Ending, Item, Lease, Logged, Outcome, Ref, Store, StoreError
from server.store.scribe import Pace, Scribe
from server.store.tail import Tail


class WriterError(StoreError):
    """This node's writing of a turn is over."""

    def __init__(self, ref: Ref, outcome: Outcome) -> None:
        super().__init__(ref, outcome)
        self.ref = ref
        self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.ref.id}: {self.outcome.answer}, log at {self.outcome.top}, lease {self.outcome.lease}"


class Fenced(WriterError):  # noqa: N818
    """Another node holds the lease."""


class Ended(Fenced):
    """The turn has its terminal event."""


class Lost(WriterError):  # noqa: N818
    """The log lacks what was acknowledged, or is gone."""


Told = Callable[["Writer"], None]


class Journal:
    """This node's writing, and the whole logs of the turns that it writes."""

    def __init__(
        self,
        store: Store,
        *,
        pace: Pace | None = None,
        keep: float = 3.0,
        on_stall: Callable[[bool], None] | None = None,
    ) -> None:
        self._store = store
        self._pace = pace or Pace()
        # Seconds for which a finished turn's log stays: Redis may lose acknowledged writes for that long.
        self._keep = keep
        self._on_stall = on_stall
        self._scribes: dict[int, Scribe] = {}
        self._tails: dict[Ref, Tail] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: dict[Tail, asyncio.TimerHandle] = {}
        # Set while a partition of Redis does not answer.
        self._was_stalled = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop writing. What was not flushed is not written; the viewers of our turns go on elsewhere."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for scribe in self._scribes.values():
            await scribe.close()
        for ref in list(self._tails):
            self.drop(ref, self._tails[ref])

    @property
    def stalled(self) -> bool:
        """Whether some partition has not answered for a quarter of a second."""
        return any(scribe.stalled for scribe in self._scribes.values())

    def tail(self, ref: Ref) -> Tail | None:
        """The log of a turn that this node writes, or wrote until a moment ago."""
        return self._tails.get(ref)

    def open(
        self,
        ref: Ref,
        lease: Lease,
        top: int,
        open_item: Open | None,
        entries: Sequence[Logged],
        *,
        told: Told | None = None,
    ) -> "Writer":
        """Begin to write a turn under a lease. `entries` is its whole log, which ends at number `top`.

        `told` is called when a stop was asked for and when the turn was taken from us or lost.
        """
        if ref in self._tails:
            self.drop(ref, self._tails[ref])
        tail = self._tails[ref] = Tail(-1, entries)
        return Writer(self, self._scribe(ref), tail, ref, lease, top, open_item, told)

    def _scribe(self, ref: Ref) -> Scribe:
        partition = self._store.partition(ref.caller)
        if partition not in self._scribes:
            self._scribes[partition] = Scribe(self._store, self._pace, self._stall_changed)
        return self._scribes[partition]

    def _stall_changed(self) -> None:
        if self.stalled != self._was_stalled:
            self._was_stalled = self.stalled
            if self._on_stall is not None:
                self._on_stall(self.stalled)

    def retire(self, ref: Ref, tail: Tail) -> None:
        """Keep a finished turn's log for a while."""
        self._timers[tail] = asyncio.get_running_loop().call_later(self._keep, self.drop, ref, tail)

    def drop(self, ref: Ref, tail: Tail) -> None:
        """Forget a turn that we no longer write: its viewers read it elsewhere."""
        if self._tails.get(ref) is tail:
            del self._tails[ref]
        timer = self._timers.pop(tail, None)
        if timer is not None:
            timer.cancel()
        tail.close()

    def spawn(self, work: Coroutine[Any, Any, Outcome]) -> "asyncio.Task[Outcome]":
        """Run something that must go on when whoever asked for it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


class Writer:
    """One turn's pen. Only its runner uses it."""

    def __init__(
        self,
        journal: Journal,
        scribe: Scribe,
        tail: Tail,
        ref: Ref,
        lease: Lease,
        top: int,
        open_item: Open | None,
        told: Told | None,
    ) -> None:
        self.ref = ref
        self.lease = lease
        self.tail = tail
        # Number of the last event that was appended, and of the last one that is in the log.
        self.top = top
        self.acknowledged = top
        # Somebody asked for a stop.
        self.stopped = False
        # Why this turn is no longer ours to write.
        self.error: WriterError | None = None
        self._journal = journal
        self._scribe = scribe
        self._told = told
        # Events that wait for the next batch, and the item that is open where they begin.
        self._pending: list[Event] = []
        self._open = open_item
        # Our share of the batch that was sent.
        self._flying: Append | None = None
        # The terminal event was handed over; then the append that holds it; then it is in the log.
        self._ending = False
        self._final: Append | None = None
        self._finished = False
        self._waiting: list[asyncio.Future[None]] = []
        scribe.join(self)

    def append(self, events: Sequence[Event]) -> None:
        """Hand over events, numbered from top + 1. They share one entry. Raises Fenced, Lost."""
        if self.error is not None:
            raise self.error
        if self._ending:
            raise RuntimeError(f"{self.ref.id} has its terminal event")
        self._pending += events
        self.top += len(events)
        if self._flying is None and self._pending:
            self._scribe.ready(self)

    async def room(self) -> None:
        """Wait until few enough events are unacknowledged. Raises Fenced, Lost."""
        while self.top - self.acknowledged >= self._scribe.pace.room:
            await self._settled()
        self._check()

    async def flushed(self) -> None:
        """Wait until everything is in the log. Raises Fenced, Lost."""
        while self.acknowledged < self.top:
            await self._settled()
        self._check()

    async def finish(
        self, events: Sequence[Event], status: Status, response: bytes, output: Sequence[Item] = ()
    ) -> Outcome:
        """Append the last events, of which one is terminal, and end the turn. Raises Fenced, Ended, Lost.

        Cancelling the wait does not stop the writing.
        """
        self.append(events)
        self._ending = True
        self._scribe.forget(self)
        return await asyncio.shield(self._journal.spawn(self._end(status, response, tuple(output))))

    async def _end(self, status: Status, response: bytes, output: tuple[Item, ...]) -> Outcome:
        while self._flying is not None:
            await self._settled()
        self._check()
        try:
            self._final = self.freeze()
            outcome = await self._scribe.finish(Ending(self._final, status, response, output))
        except Exception as error:
            self.fail(error)
        else:
            self.settle(outcome)
        self._check()
        self._scribe.leave(self)
        self._journal.retire(self.ref, self.tail)
        return outcome

    def close(self) -> None:
        """Give up writing. What is pending is forgotten. After finish(), and the second time, it does nothing."""
        self._scribe.leave(self)
        self._pending.clear()
        if not self._finished:
            self._journal.drop(self.ref, self.tail)

    # -- for the scribe ------------------------------------------------------------------------------------------

    def freeze(self) -> Append:
        """Everything that is pending, as one entry that is never changed again."""
        events, self._pending = self._pending, []
        after = self.top - len(events)
        self._flying = Append(self.ref, self.lease, after, self.top, encode(self._open, events))
        for event in events:
            self._open = opened(self._open, event)
        return self._flying

    def stall(self, *, stalled: bool) -> None:
        """Tell the viewers whether the log answers."""
        self.tail.stall(stalled=stalled)

    def settle(self, outcome: Outcome) -> None:
        """Take the answer to what was frozen."""
        flying, self._flying = self._flying, None
        if flying is None or self.error is not None:
            return
        if outcome.answer in (Answer.OK, Answer.DUPLICATE):
            self._acknowledge(flying, outcome)
        else:
            self._refused(outcome)
        self._wake()

    def _acknowledge(self, flying: Append, outcome: Outcome) -> None:
        self.acknowledged = flying.top
        self._finished = flying is self._final
        self.tail.extend((Logged(flying.top, flying.entry, flying.after, self._finished),))
        if outcome.stop and not self.stopped:
            self.stopped = True
            self._tell()
        if self._pending and not self._ending:
            self._scribe.ready(self)

    def _refused(self, outcome: Outcome) -> None:
        older = outcome.lease is not None and outcome.lease.fence < self.lease.fence
        if outcome.answer is Answer.FINISHED:
            self._give_up(Ended(self.ref, outcome))
        elif outcome.answer is Answer.FENCED and not older:
            self._give_up(Fenced(self.ref, outcome))
        else:
            # Redis is older than we are, or empty: here a claim above both fences and the missing entries belong.
            self._give_up(Lost(self.ref, outcome))

    def fail(self, error: Exception) -> None:
        """Take it that no answer will come: a bug of ours, or a server that makes no sense."""
        self._flying = None
        lost = Lost(self.ref, Outcome(Answer.BROKEN))
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
