"""What this node writes: a writer for each turn that it holds, and their logs in memory.

Appends are grouped: each partition has one GroupCommitter with one call in flight. Events gather per turn while it
is; when it returns, everything that gathered goes out in the next. A batch that was sent is frozen and repeated byte
for byte until it is answered, and every turn in it is answered on its own. Readers are shown what was acknowledged
and nothing else.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

from server.background import Supervisor
from server.log.buffer import LogBuffer
from server.log.committer import CommitPolicy, GroupCommitter
from server.log.writer import ClaimedLog, Fenced, LogLost, OnNews, TurnEnded, Writer, WriterError
from server.store.contracts import Store
from server.store.types import TurnRef, WriteResult

__all__ = ["ClaimedLog", "CommitPolicy", "Fenced", "Journal", "LogLost", "TurnEnded", "Writer", "WriterError"]


KEPT_BYTES = 128 * 1024 * 1024  # of finished turns' logs in memory


class Journal:
    """Opens writers, and owns their committers, their buffers, and the tasks that outlive a caller.

    `keep_seconds` is how long a finished turn's log stays in memory. It must cover what Redis may lose of the writes
    that it acknowledged: until then the end of a turn can be written again.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: CommitPolicy | None = None,
        keep_seconds: float = 3.0,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor or Supervisor()
        self._policy = policy or CommitPolicy()
        self._keep_seconds = keep_seconds
        # By partition; made for the first turn of each.
        self._committers: dict[int, GroupCommitter] = {}
        # Logs of the turns that this node writes, and of those that it finished a moment ago.
        self._buffers: dict[TurnRef, LogBuffer] = {}
        # Writers of the finished ones, and when their logs are to be forgotten.
        self._finished: dict[TurnRef, Writer] = {}
        self._kept_bytes = 0
        self._expiries: dict[LogBuffer, asyncio.TimerHandle] = {}
        # The store does not answer. When it does again, it may have lost what finished last, however long ago.
        self._store_lost = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop writing. What is not in the log yet is not written; readers go on elsewhere. May be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for committer in self._committers.values():
            await committer.close()
        for ref, buffer in list(self._buffers.items()):
            self.forget(ref, buffer)

    @property
    def stalled(self) -> bool:
        """Whether a call to some partition is unanswered for longer than the policy's `stall_seconds`."""
        return any(committer.stalled for committer in self._committers.values())

    def buffer(self, ref: TurnRef) -> LogBuffer | None:
        """The log of a turn that this node writes, or wrote until a moment ago."""
        return self._buffers.get(ref)

    def open_writer(self, log: ClaimedLog, on_news: OnNews | None = None) -> Writer:
        """Begin to write a turn under a lease. Called by the turn's runner.

        `on_news` is called, soon after, when a cancel of the turn was asked for (`writer.stopped`) and when the turn
        is no longer ours (`writer.error`).
        """
        ref = log.ref
        if ref in self._buffers:
            self.forget(ref, self._buffers[ref])
        buffer = self._buffers[ref] = LogBuffer(-1, log.entries)
        return Writer(self, self._committer(ref), buffer, log, on_news)

    def _committer(self, ref: TurnRef) -> GroupCommitter:
        partition = self._store.partition(ref.caller)
        if partition not in self._committers:
            self._committers[partition] = GroupCommitter(self._store, self._policy, self._supervisor)
        return self._committers[partition]

    # -- called by the node's heartbeater ------------------------------------------------------------------------------

    def on_store_lost(self) -> None:
        """Keep the logs of finished turns while the store does not answer."""
        self._store_lost = True

    def on_store_back(self) -> None:
        """Write once more how the latest turns ended: the store answers again, or is older than it was."""
        self._store_lost = False
        for writer in list(self._finished.values()):
            self.spawn(writer.ensure_finished())

    # -- called by writers -------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, WriteResult]) -> "asyncio.Task[WriteResult]":
        """Run something that must go on when whoever asked for it is cancelled. It ends with the journal."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def keep_finished(self, writer: Writer) -> None:
        """Keep a finished turn's log for `keep_seconds`, and for as long as the store does not answer then.

        The oldest go earlier where all together take more than `KEPT_BYTES`.
        """
        self._finished[writer.ref] = writer
        self._kept_bytes += writer.kept_bytes
        self._schedule_expiry(writer.ref, writer.buffer)
        if self._kept_bytes > KEPT_BYTES and not self._store_lost:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        for oldest in list(self._finished.values())[:-1]:
            if self._kept_bytes <= KEPT_BYTES:
                break
            self.forget(oldest.ref, oldest.buffer)

    def forget(self, ref: TurnRef, buffer: LogBuffer) -> None:
        """Close the buffer of a turn that this node no longer writes: its readers go on elsewhere."""
        if self._buffers.get(ref) is buffer:
            del self._buffers[ref]
            finished = self._finished.pop(ref, None)
            self._kept_bytes -= 0 if finished is None else finished.kept_bytes
        timer = self._expiries.pop(buffer, None)
        if timer is not None:
            timer.cancel()
        buffer.close()

    def _schedule_expiry(self, ref: TurnRef, buffer: LogBuffer) -> None:
        loop = asyncio.get_running_loop()
        self._expiries[buffer] = loop.call_later(self._keep_seconds, self._expire, ref, buffer)

    def _expire(self, ref: TurnRef, buffer: LogBuffer) -> None:
        if self._store_lost:
            self._schedule_expiry(ref, buffer)
        else:
            self.forget(ref, buffer)
