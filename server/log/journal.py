"""The group commit: durable before it is shown, and cheap.

Each partition has one scribe with one append call in flight. Events gather per turn while it is; when it returns,
everything that gathered goes out in the next. A batch that was sent is frozen and repeated byte for byte until it is
answered, and every turn in it is answered on its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from server.log.buffer import LogBuffer
from server.log.committer import CommitPolicy, GroupCommitter
from server.log.writer import Fenced, LogLost, OnNews, TurnEnded, Writer, WriterError
from server.protocol.entry import Open
from server.store.contracts import Store
from server.store.types import Lease, LogEntry, NewTurn, TurnRef, WriteResult

__all__ = ["CommitPolicy", "Fenced", "Journal", "LogLost", "TurnEnded", "Writer", "WriterError"]


class Journal:
    """This node's writing, and the whole logs of the turns that it writes."""

    def __init__(
        self,
        store: Store,
        *,
        pace: CommitPolicy | None = None,
        keep: float = 3.0,
        on_stall: Callable[[bool], None] | None = None,
    ) -> None:
        self._store = store
        self._pace = pace or CommitPolicy()
        # Seconds for which a finished turn's log stays: Redis may lose acknowledged writes for that long.
        self._keep = keep
        self._on_stall = on_stall
        self._scribes: dict[int, GroupCommitter] = {}
        self._tails: dict[TurnRef, LogBuffer] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: dict[LogBuffer, asyncio.TimerHandle] = {}
        self._ended: dict[TurnRef, Writer] = {}
        # Redis does not answer: when it does again, it may have lost what ended last, however long ago that was.
        self._in_doubt = False
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
            self.forget(ref, self._tails[ref])

    @property
    def stalled(self) -> bool:
        """Whether some partition has not answered for a quarter of a second."""
        return any(scribe.stalled for scribe in self._scribes.values())

    def buffer(self, ref: TurnRef) -> LogBuffer | None:
        """The log of a turn that this node writes, or wrote until a moment ago."""
        return self._tails.get(ref)

    def open_writer(
        self,
        ref: TurnRef,
        lease: Lease,
        top: int,
        open_item: Open | None,
        entries: Sequence[LogEntry],
        *,
        told: OnNews | None = None,
        origin: NewTurn | None = None,
    ) -> "Writer":
        """Begin to write a turn under a lease. `entries` is its whole log, which ends at number `top`.

        `told` is called when a stop was asked for and when the turn was taken from us or lost. With `origin`, what
        the turn was admitted with, it can be admitted again where Redis came back empty.
        """
        if ref in self._tails:
            self.forget(ref, self._tails[ref])
        tail = self._tails[ref] = LogBuffer(-1, entries)
        return Writer(self, self._scribe(ref), tail, ref, lease, top, open_item, told, origin)

    def _scribe(self, ref: TurnRef) -> GroupCommitter:
        partition = self._store.partition(ref.caller)
        if partition not in self._scribes:
            self._scribes[partition] = GroupCommitter(self._store, self._pace, self._stall_changed)
        return self._scribes[partition]

    def _stall_changed(self) -> None:
        if self.stalled != self._was_stalled:
            self._was_stalled = self.stalled
            if self._on_stall is not None:
                asyncio.get_running_loop().call_soon(self._on_stall, self.stalled)

    def keep_finished(self, writer: Writer) -> None:
        """Keep a finished turn's log for a while."""
        self._ended[writer.ref] = writer
        self._arm(writer.ref, writer.tail)

    def _arm(self, ref: TurnRef, tail: LogBuffer) -> None:
        self._timers[tail] = asyncio.get_running_loop().call_later(self._keep, self._expire, ref, tail)

    def _expire(self, ref: TurnRef, tail: LogBuffer) -> None:
        if self._in_doubt:
            self._arm(ref, tail)
        else:
            self.forget(ref, tail)

    def forget(self, ref: TurnRef, tail: LogBuffer) -> None:
        """Forget a turn that we no longer write: its viewers read it elsewhere."""
        if self._tails.get(ref) is tail:
            del self._tails[ref]
            self._ended.pop(ref, None)
        timer = self._timers.pop(tail, None)
        if timer is not None:
            timer.cancel()
        tail.close()

    def on_store_lost(self) -> None:
        """Redis does not answer."""
        self._in_doubt = True

    def on_store_back(self) -> None:
        """Redis answers again, or is older than it was: write once more how the latest turns ended."""
        self._in_doubt = False
        for writer in list(self._ended.values()):
            self.spawn(writer.ensure_finished())

    def spawn(self, work: Coroutine[Any, Any, WriteResult]) -> "asyncio.Task[WriteResult]":
        """Run something that must go on when whoever asked for it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task
