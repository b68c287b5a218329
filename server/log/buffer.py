"""The end of one log in memory. Any number of readers share it, each by its own position."""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

import structlog

from engine.base import Sink
from server.store.errors import PositionLost
from server.store.types import LogEntry

log = structlog.get_logger(__name__)

# Where a reader that waits for entries is handed them without a task switch.
EntrySink = Sink[list[LogEntry]]


class LogBuffer:
    """Acknowledged entries with numbers above `base`, in order. One feeder adds to it, readers wait for changes.

    The feeder is a Writer on the node that writes the log and a RemoteTailer elsewhere. Numbers may be skipped where
    the log itself has a hole, and where a tailer's mirror missed something: the subscriber tells the two apart.
    """

    def __init__(
        self, base: int, entries: Iterable[LogEntry] = (), *, closed: bool = False, stalled: bool = False
    ) -> None:
        self.base = base
        self.entries: list[LogEntry] = []
        # Nobody feeds this buffer any more: readers look for the log elsewhere, from their positions.
        self.closed = closed
        # The store does not answer. Nothing is lost: entries follow when it is back.
        self.stalled = stalled
        # Set when nothing can follow the entries that are here.
        self.lost: PositionLost | None = None
        # `last_seq` of each entry, for bisection.
        self._last_seqs: list[int] = []
        # One future per waiting reader, with the `try_push` of its sink.
        self._waiting: dict[asyncio.Future[None], Callable[[list[LogEntry]], bool] | None] = {}
        self.extend(entries)

    @property
    def last_seq(self) -> int:
        """Number of the last event in the buffer; `base` while it is empty."""
        return self._last_seqs[-1] if self._last_seqs else self.base

    @property
    def ended(self) -> bool:
        """Whether the buffer holds the terminal event."""
        return bool(self.entries) and self.entries[-1].is_last

    @property
    def done(self) -> bool:
        """Whether no entry will be added any more, for whatever reason."""
        return self.ended or self.closed or self.lost is not None

    def __contains__(self, seq: int) -> bool:
        """Whether an entry ends with the event of this number."""
        index = bisect_left(self._last_seqs, seq)
        return index < len(self._last_seqs) and self._last_seqs[index] == seq

    def entries_after(self, after: int) -> list[LogEntry]:
        """All entries that hold events numbered above `after`; the first may begin below it."""
        return self.entries[bisect_right(self._last_seqs, after) :]

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Add the entries that are new, and offer them to the waiting readers; whoever declines is woken."""
        new = []
        last_seq = self.last_seq
        for entry in entries:
            if entry.last_seq > last_seq:
                last_seq = entry.last_seq
                self.entries.append(entry)
                self._last_seqs.append(last_seq)
                new.append(entry)
        for future, try_push in list(self._waiting.items()) if new else ():
            try:
                if future.done() or (try_push is not None and try_push(new)):
                    continue
            except Exception as error:  # one reader's: it is woken, and finds out by itself
                log.error("sink_failed", exc_info=error)
            future.set_result(None)

    def close(self) -> None:
        """End the feeding: readers go on elsewhere."""
        self.closed = True
        self._wake_all()

    def lose(self, error: PositionLost) -> None:
        """End the log as lost: readers that have read to the end raise `error`."""
        self.lost = error
        self._wake_all()

    def set_stalled(self, *, stalled: bool) -> None:
        """Record whether the store answers the feeder, and wake the readers when that changed."""
        if stalled != self.stalled:
            self.stalled = stalled
            self._wake_all()

    async def wait_changed(self, sink: EntrySink | None = None) -> None:
        """Wait for any change other than entries that `sink` took. Cancelling it leaves nothing behind."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None if sink is None else sink.try_push  # bound once: it is called for every token
        try:
            await future
        finally:
            del self._waiting[future]

    def _wake_all(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
