"""Follow a turn from a position: first view, resume, second tab, other node, takeover."""

import asyncio
from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Self

from server.background import Supervisor
from server.log.buffer import EntrySink, LogBuffer
from server.log.journal import Journal
from server.log.tailer import PAGE_ENTRIES, FollowPolicy, RemoteTailer
from server.protocol.status import FINAL, Status
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreDown
from server.store.types import LogEntry, LogPage, TurnRef


class LogNotice(StrEnum):
    """What a subscription yields between entries: whether the store answers."""

    STALLED = "stalled"  # it does not; entries follow, in order, when it is back
    FLOWING = "flowing"  # it is back


LogUpdate = list[LogEntry] | LogNotice


class LogSubscriber:
    """Serves every subscription of this node. It owns the tailers' tasks; subscriptions own none.

    A log is read from the journal's buffer where this node writes it, from a tailer's mirror while another node does,
    and in pages of at most `page_entries` entries up to that mirror, or to the end of a finished log.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal | None = None,
        *,
        policy: FollowPolicy | None = None,
        page_entries: int = PAGE_ENTRIES,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._supervisor = supervisor or Supervisor()
        self._store = store
        self._journal = journal
        self._policy = policy or FollowPolicy()
        self._page_entries = page_entries
        # By partition; made for the first subscription to a turn of each that is written elsewhere.
        self._tailers: dict[int, RemoteTailer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the tailers. May be called twice."""
        tailers, self._tailers = self._tailers, {}
        for tailer in tailers.values():
            await tailer.close()

    async def subscribe(
        self, ref: TurnRef, after: int, sink: EntrySink | None = None
    ) -> AsyncGenerator[LogUpdate, None]:
        """Entries with events numbered above `after`, each once, until the one with the terminal event.

        What is there already comes together, as far as numbers follow each other. The first entry may begin at or
        below `after`. While the store does not answer it waits, and says so by a LogNotice. Raises PositionLost when
        nothing is sure to follow. Cancelling it, or letting it go, leaves nothing behind.

        While the iterator waits, new entries are first offered to `sink`; what it takes is not yielded. The terminal
        entry, and entries behind a hole, always come by the iterator.
        """
        cursor = LogCursor(ref, after, sink, self._journal)
        stalled = False
        cursor.source = await self._find_source(ref, after)
        while (source := cursor.source) is not None:
            if source.stalled != stalled:
                stalled = source.stalled
                yield LogNotice.STALLED if stalled else LogNotice.FLOWING
            run = gapless(source.entries_after(cursor.position))
            if run and run[0].after_seq > cursor.position and not await self._follows(cursor, source, run[0]):
                source.close()
            elif run:
                cursor.position = run[-1].last_seq
                yield run
                if run[-1].is_last:
                    return
            if source.ended and source.last_seq == cursor.position:
                return
            if source.lost is not None:
                raise source.lost
            if source.closed or cursor.is_written_here():
                cursor.source = await self._find_source(ref, cursor.position)
            elif source.last_seq <= cursor.position and source.stalled == stalled:
                await source.wait_changed(cursor)

    async def _find_source(self, ref: TurnRef, position: int) -> LogBuffer | None:
        """Where to read on. A closed buffer holds one page, behind which to look again. None: the log ends here.

        Raises PositionLost.
        """
        local = None if self._journal is None else self._journal.buffer(ref)
        if local is not None:
            return await self._wait_reached(ref, local, position)
        tailer = self._tailer(ref)
        mirror = tailer.mirror(ref)
        if mirror is not None and mirror.base <= position <= mirror.last_seq:
            return mirror
        try:
            page = await self._read_page(ref, position)
        except StoreDown:
            await asyncio.sleep(self._policy.retry_seconds)
            return LogBuffer(position, closed=True, stalled=True)
        if page.status in FINAL:
            return LogBuffer(position, page.entries, closed=True) if page.entries else None
        if page.entries and page.entries[-1].last_seq < page.last_seq:
            return LogBuffer(position, page.entries, closed=True)
        return tailer.follow(ref, position, page.entries)

    async def _read_page(self, ref: TurnRef, position: int) -> LogPage:
        """The next page. A running log that ends below `position` has `behind_seconds` to reach it.

        Raises PositionLost, StoreDown.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._policy.behind_seconds
        page = await self._store.read(ref, position, self._page_entries)
        while (
            page.status not in FINAL and page.status is not None and page.last_seq < position and loop.time() < deadline
        ):
            await asyncio.sleep(self._policy.retry_seconds)
            page = await self._store.read(ref, position, self._page_entries)
        if page.status is None or page.last_seq < position or (page.last_seq > position and not page.entries):
            raise PositionLost(ref, position, page.status, page.last_seq)
        return page

    async def _wait_reached(self, ref: TurnRef, local: LogBuffer, position: int) -> LogBuffer:
        """This node's own log, once it reaches `position`. Raises PositionLost after `behind_seconds`."""
        try:
            async with asyncio.timeout(self._policy.behind_seconds):
                while local.last_seq < position and not local.ended and not local.closed:
                    await local.wait_changed()
        except TimeoutError:
            raise PositionLost(ref, position, Status.IN_PROGRESS, local.last_seq) from None
        if local.last_seq < position and local.ended:
            raise PositionLost(ref, position, Status.COMPLETED, local.last_seq)
        return local

    async def _follows(self, cursor: "LogCursor", source: LogBuffer, entry: LogEntry) -> bool:
        """Whether `entry` is next in the log although numbers are missing before it: the log has a hole there.

        False: the log has entries that `source` lacks. Raises PositionLost where the cursor's position is not in the
        log: it lies in the hole, or the store lost what a mirror still holds.
        """
        ref, position = cursor.ref, cursor.position
        if cursor.local_buffer() is source and position in source:
            return True
        two = () if position < 0 else await self._read_two(ref, position)
        if not two or two[0].last_seq != position:
            source.close()  # nobody else may be shown what is not in the log
            raise PositionLost(ref, position, Status.IN_PROGRESS, source.last_seq)
        return two[-1].last_seq == entry.last_seq

    async def _read_two(self, ref: TurnRef, position: int) -> tuple[LogEntry, ...]:
        """The entry that ends at `position`, or else the first above it, and the entry after that."""
        while True:
            try:
                return (await self._store.read(ref, position - 1, 2)).entries
            except StoreDown:
                await asyncio.sleep(self._policy.retry_seconds)

    def _tailer(self, ref: TurnRef) -> RemoteTailer:
        partition = self._store.partition(ref.caller)
        if partition not in self._tailers:
            self._tailers[partition] = RemoteTailer(self._store, partition, self._policy, self._supervisor)
        return self._tailers[partition]


class LogCursor:
    """One subscription's place in a log. As the sink of its source, it passes on what its own sink takes."""

    def __init__(self, ref: TurnRef, position: int, sink: EntrySink | None, journal: Journal | None) -> None:
        self.ref = ref
        # Number of the last event that was yielded or taken.
        self.position = position
        # What the subscription reads; None before it was found, and behind the log's end.
        self.source: LogBuffer | None = None
        self._try_push = None if sink is None else sink.try_push  # bound once: it is called for every token
        self._journal = journal

    def try_push(self, entries: list[LogEntry]) -> bool:
        """Take new entries of the source if they just follow, and the subscription's sink takes them."""
        run = unseen(entries, self.position)
        if run and (self._try_push is None or not self._is_plain(run) or not self._try_push(run)):
            return False
        self.position = max(self.position, entries[-1].last_seq)
        return True

    def _is_plain(self, run: list[LogEntry]) -> bool:
        """Whether entries follow on the position without a hole, and the iterator has nothing to do behind them."""
        if run[-1].is_last or run[0].after_seq > self.position or (len(run) > 1 and len(gapless(run)) < len(run)):
            return False
        return not self.is_written_here()

    def is_written_here(self) -> bool:
        """Whether this node has begun to write the log, which was being read from another source."""
        return self.local_buffer() not in (None, self.source)

    def local_buffer(self) -> LogBuffer | None:
        """The log in the journal's memory, if this node writes it."""
        return None if self._journal is None else self._journal.buffer(self.ref)


def unseen(entries: list[LogEntry], position: int) -> list[LogEntry]:
    """New entries with events above a position: nearly always one, which just follows it. A mirror may be behind."""
    if len(entries) == 1 and entries[0].after_seq == position:
        return entries
    return [entry for entry in entries if entry.last_seq > position]


def gapless(entries: list[LogEntry]) -> list[LogEntry]:
    """As many of the first entries as follow each other without a hole."""
    for at in range(1, len(entries)):
        if entries[at].after_seq > entries[at - 1].last_seq:
            return entries[:at]
    return entries
