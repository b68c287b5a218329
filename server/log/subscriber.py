"""Following a turn from a position: first view, resume, second tab, other node, takeover."""

import asyncio
from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Self

from server.log.buffer import EntrySink, LogBuffer
from server.log.journal import Journal
from server.log.tailer import FollowPolicy, RemoteTailer
from server.protocol.status import FINAL, Status
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreDown
from server.store.types import LogEntry, LogPage, TurnRef


class LogNotice(StrEnum):
    """What a viewer is told between entries."""

    STALLED = "stalled"  # the log does not answer; everything follows in order when it is back
    FLOWING = "flowing"  # it is back


LogUpdate = list[LogEntry] | LogNotice


class LogSubscriber:
    """All viewers of this node. Ends its tasks when it is closed; viewers own none."""

    def __init__(
        self, store: Store, journal: Journal | None = None, *, patience: FollowPolicy | None = None, page: int = 500
    ) -> None:
        self._store = store
        self._journal = journal
        self._patience = patience or FollowPolicy()
        self._page = page
        self._readers: dict[int, RemoteTailer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the readers. May be called twice."""
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            await reader.close()

    async def subscribe(
        self, ref: TurnRef, after: int, take: EntrySink | None = None
    ) -> AsyncGenerator[LogUpdate, None]:
        """Entries with events above `after`, each once, until the one with the terminal event.

        What is there already comes together, as far as numbers follow each other. The first entry may begin at or
        below `after`. Raises PositionLost when nothing is sure to follow. While Redis does
        not answer it waits and says so. Cancelling it, or letting it go, leaves nothing behind.
        With `take`, new entries other than the last may be handed to it while the iterator waits.
        """
        position = after
        stalled = False

        def taken(new: list[LogEntry]) -> bool:
            nonlocal position
            run = unseen(new, position)
            if run and (take is None or not self._is_plain(ref, position, run, source) or not take(run)):
                return False
            position = max(position, new[-1].last_seq)
            return True

        source = await self._source(ref, position)
        while source is not None:
            if source.stalled != stalled:
                stalled = source.stalled
                yield LogNotice.STALLED if stalled else LogNotice.FLOWING
            run = gapless(source.entries_after(position))
            if run and run[0].after_seq > position and not await self._bridged(ref, position, run[0], source):
                source.close()
            elif run:
                position = run[-1].last_seq
                yield run
                if run[-1].is_last:
                    return
            if source.ended and source.last_seq == position:
                return
            if source.lost is not None:
                raise source.lost
            if source.closed or self._is_here(ref, source):
                source = await self._source(ref, position)
            elif source.last_seq <= position and source.stalled == stalled:
                await source.wait_changed(taken)

    async def _source(self, ref: TurnRef, position: int) -> LogBuffer | None:
        """Where to read on: the writer's own tail, the mirror of another node's, or a page. None: it has ended here."""
        local = self._local(ref)
        if local is not None:
            return await self._reached(ref, local, position)
        reader = self._reader(ref)
        mirror = reader.mirror(ref)
        if mirror is not None and mirror.base <= position <= mirror.last_seq:
            return mirror
        try:
            page = await self._read(ref, position)
        except StoreDown:
            await asyncio.sleep(self._patience.retry_seconds)
            return LogBuffer(position, closed=True, stalled=True)
        if page.status in FINAL:
            return LogBuffer(position, page.entries, closed=True) if page.entries else None
        if page.entries and page.entries[-1].last_seq < page.last_seq:
            return LogBuffer(position, page.entries, closed=True)
        return reader.follow(ref, position, page.entries)

    async def _read(self, ref: TurnRef, position: int) -> LogPage:
        """The next page. A running log that ends below `position` gets a little time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience.behind_seconds
        page = await self._store.read(ref, position, self._page)
        while (
            page.status not in FINAL and page.status is not None and page.last_seq < position and loop.time() < deadline
        ):
            await asyncio.sleep(self._patience.retry_seconds)
            page = await self._store.read(ref, position, self._page)
        if page.status is None or page.last_seq < position or (page.last_seq > position and not page.entries):
            raise PositionLost(ref, position, page.status, page.last_seq)
        return page

    async def _reached(self, ref: TurnRef, local: LogBuffer, position: int) -> LogBuffer:
        """This node's own log, once it reaches `position`."""
        try:
            async with asyncio.timeout(self._patience.behind_seconds):
                while local.last_seq < position and not local.ended and not local.closed:
                    await local.wait_changed()
        except TimeoutError:
            raise PositionLost(ref, position, Status.IN_PROGRESS, local.last_seq) from None
        if local.last_seq < position and local.ended:
            raise PositionLost(ref, position, Status.COMPLETED, local.last_seq)
        return local

    async def _bridged(self, ref: TurnRef, position: int, logged: LogEntry, source: LogBuffer) -> bool:
        """Numbers are missing between `position` and an entry: fine where the log itself goes on like that.

        False: the log has what `source` lacks. Raises PositionLost where `position` is not in the log, as in a hole or
        where Redis lost what a mirror still holds.
        """
        if self._local(ref) is source and position in source:
            return True
        two = () if position < 0 else await self._two(ref, position)
        if not two or two[0].last_seq != position:
            source.close()  # nobody else may be shown what is not in the log
            raise PositionLost(ref, position, Status.IN_PROGRESS, source.last_seq)
        return two[-1].last_seq == logged.last_seq

    async def _two(self, ref: TurnRef, position: int) -> tuple[LogEntry, ...]:
        """The entry that ends at `position`, or the first above it, and the next."""
        while True:
            try:
                return (await self._store.read(ref, position - 1, 2)).entries
            except StoreDown:
                await asyncio.sleep(self._patience.retry_seconds)

    def _local(self, ref: TurnRef) -> LogBuffer | None:
        return None if self._journal is None else self._journal.buffer(ref)

    def _is_plain(self, ref: TurnRef, position: int, run: list[LogEntry], source: LogBuffer | None) -> bool:
        """Whether entries just follow a position, and so will others."""
        if run[-1].is_last or run[0].after_seq > position or (len(run) > 1 and len(gapless(run)) < len(run)):
            return False
        return source is not None and not self._is_here(ref, source)

    def _is_here(self, ref: TurnRef, source: LogBuffer) -> bool:
        """Whether this node has begun to write a turn that it was following."""
        return self._local(ref) not in (None, source)

    def _reader(self, ref: TurnRef) -> RemoteTailer:
        partition = self._store.partition(ref.caller)
        if partition not in self._readers:
            self._readers[partition] = RemoteTailer(self._store, partition, self._patience)
        return self._readers[partition]


def unseen(new: list[LogEntry], position: int) -> list[LogEntry]:
    """New entries with events above a position: nearly always one, which just follows it. A mirror may be behind."""
    if len(new) == 1 and new[0].after_seq == position:
        return new
    return [logged for logged in new if logged.last_seq > position]


def gapless(entries: list[LogEntry]) -> list[LogEntry]:
    """As many of the first entries as follow each other without a hole."""
    for at in range(1, len(entries)):
        if entries[at].after_seq > entries[at - 1].last_seq:
            return entries[:at]
    return entries
