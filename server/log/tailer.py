"""The live ends of other nodes' logs in one partition: one blocking read for all of them."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from weakref import WeakValueDictionary

import msgspec

from server.log.buffer import LogBuffer
from server.protocol.status import FINAL
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreDown, StoreError
from server.store.types import LogEntry, TurnRef


class FollowPolicy(msgspec.Struct, frozen=True):
    """Seconds."""

    behind_seconds: float = 2.0  # for a running log to reach a viewer's position again
    quiet_seconds: float = 5.0  # without news of a log, until the turn's hash is read
    wake_pause: float = 0.005  # of a partition's reader after each wake
    retry_seconds: float = 0.1  # after Redis did not answer
    block_seconds: float = 1.0  # of one blocking read


class RemoteTailer:
    """Feeds a mirror of each log that somebody watches. A mirror that nobody holds any more is forgotten."""

    def __init__(self, store: Store, partition: int, patience: FollowPolicy) -> None:
        self._store = store
        self._partition = partition
        self._patience = patience
        self._mirrors: WeakValueDictionary[TurnRef, LogBuffer] = WeakValueDictionary()
        # When each log was last heard of.
        self._heard: dict[TurnRef, float] = {}
        # Set when a mirror was added which the read in flight does not know.
        self._added = asyncio.Event()
        self._some = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work()) for work in (self._read, self._interrupt, self._audit)]

    async def close(self) -> None:
        """End the tasks and send the viewers elsewhere."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for mirror in self._live():
            mirror.close()

    def mirror(self, ref: TurnRef) -> LogBuffer | None:
        """The end of a log that is being followed."""
        mirror = self._mirrors.get(ref)
        return None if mirror is None or mirror.closed or mirror.lost is not None else mirror

    def follow(self, ref: TurnRef, position: int, entries: Iterable[LogEntry]) -> LogBuffer:
        """Mirror a log from `position` on, of which `entries` are known. Hold on to the mirror to have it fed.

        There is one mirror of a log: who comes from below it reads up to it first.
        """
        mirror = self.mirror(ref)
        if mirror is not None and mirror.base <= position:
            return mirror
        if mirror is not None and (known := tuple(entries)):
            return LogBuffer(position, known, closed=True)
        if mirror is not None:
            mirror.close()
        mirror = self._mirrors[ref] = LogBuffer(position, entries)
        self._hear(ref)
        self._added.set()
        self._some.set()
        return mirror

    async def _read(self) -> None:
        while True:
            after = self._positions()
            if not after:
                self._some.clear()
                await self._some.wait()
                continue
            try:
                found = await self._store.follow(after, int(self._patience.block_seconds * 1000))
            except StoreDown:
                await self._pause()
            except Exception:  # a bad key, or what makes no sense: it must not end the reading of everybody else
                await self._isolate()
            else:
                self._deliver(after, found)
                await asyncio.sleep(self._patience.wake_pause if found else 0)

    def _positions(self) -> dict[TurnRef, int]:
        self._added.clear()
        return {ref: mirror.last_seq for ref, mirror in self._mirrors.items() if not mirror.done}

    def _deliver(self, after: dict[TurnRef, int], found: dict[TurnRef, tuple[LogEntry, ...]]) -> None:
        for mirror in self._live():
            mirror.set_stalled(stalled=False)
        for ref, entries in found.items():
            self._extend(ref, after[ref], entries)

    def _extend(self, ref: TurnRef, after: int, entries: tuple[LogEntry, ...]) -> None:
        mirror = self._mirrors.get(ref)
        # A mirror that was made while the read was in flight may not reach to where that began.
        if mirror is not None and mirror.last_seq >= after:
            self._hear(ref)
            mirror.extend(entries)

    def _live(self) -> list[LogBuffer]:
        return list(self._mirrors.values())

    def _hear(self, ref: TurnRef) -> None:
        self._heard[ref] = asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        """No answer: the viewers are told, and nobody is judged for the silence."""
        for mirror in self._live():
            mirror.set_stalled(stalled=True)
        for ref in list(self._mirrors):
            self._hear(ref)
        await asyncio.sleep(self._patience.retry_seconds)

    async def _isolate(self) -> None:
        """One bad key spoils the read of all: find it, and go on without it."""
        for ref in list(self._mirrors):
            with suppress(StoreDown):
                await self._ask(ref)
        await asyncio.sleep(self._patience.retry_seconds)

    async def _interrupt(self) -> None:
        """Wake the blocking read for each mirror that it does not know yet."""
        while True:
            await self._added.wait()
            while self._added.is_set():
                with suppress(StoreError):
                    await self._store.wake(self._partition)
                await asyncio.sleep(self._patience.wake_pause)

    async def _audit(self) -> None:
        """Ask after the logs that have been quiet for long."""
        while True:
            await asyncio.sleep(self._patience.quiet_seconds / 5)
            self._heard = {ref: when for ref, when in self._heard.items() if ref in self._mirrors}
            before = asyncio.get_running_loop().time() - self._patience.quiet_seconds
            for ref in [ref for ref, when in self._heard.items() if when <= before]:
                with suppress(StoreDown):
                    await self._ask(ref)

    async def _ask(self, ref: TurnRef) -> None:
        """Read what the turn's hash says."""
        mirror = self._mirrors.get(ref)
        if mirror is None or mirror.done:
            return
        position = mirror.last_seq  # it may grow while the answer is on its way
        try:
            page = await self._store.read(ref, position, 500)
        except StoreDown:
            raise
        except Exception:
            mirror.lose(PositionLost(ref, mirror.last_seq, None, -1))
            del self._mirrors[ref]
            return
        self._hear(ref)
        mirror.extend(page.entries)
        if page.status is None or page.last_seq < position or (page.status in FINAL and not page.entries):
            mirror.lose(PositionLost(ref, mirror.last_seq, page.status, page.last_seq))
