"""The live ends of other nodes' logs in one partition: one blocking read for all of them."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from weakref import WeakValueDictionary

import msgspec

from server.log.buffer import Tail
from server.protocol.status import FINAL
from server.store.base import Logged, PositionLost, Ref, Store, StoreDown, StoreError


class Patience(msgspec.Struct, frozen=True):
    """Seconds."""

    above: float = 2.0  # for a running log to reach a viewer's position again
    quiet: float = 5.0  # without news of a log, until the turn's hash is read
    pause: float = 0.005  # of a partition's reader after each wake
    retry: float = 0.1  # after Redis did not answer
    block: float = 1.0  # of one blocking read


class Reader:
    """Feeds a mirror of each log that somebody watches. A mirror that nobody holds any more is forgotten."""

    def __init__(self, store: Store, partition: int, patience: Patience) -> None:
        self._store = store
        self._partition = partition
        self._patience = patience
        self._mirrors: WeakValueDictionary[Ref, Tail] = WeakValueDictionary()
        # When each log was last heard of.
        self._heard: dict[Ref, float] = {}
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

    def mirror(self, ref: Ref) -> Tail | None:
        """The end of a log that is being followed."""
        mirror = self._mirrors.get(ref)
        return None if mirror is None or mirror.closed or mirror.lost is not None else mirror

    def follow(self, ref: Ref, position: int, entries: Iterable[Logged]) -> Tail:
        """Mirror a log from `position` on, of which `entries` are known. Hold on to the mirror to have it fed.

        There is one mirror of a log: who comes from below it reads up to it first.
        """
        mirror = self.mirror(ref)
        if mirror is not None and mirror.base <= position:
            return mirror
        if mirror is not None and (known := tuple(entries)):
            return Tail(position, known, closed=True)
        if mirror is not None:
            mirror.close()
        mirror = self._mirrors[ref] = Tail(position, entries)
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
                found = await self._store.follow(after, int(self._patience.block * 1000))
            except StoreDown:
                await self._pause()
            except Exception:  # a bad key, or what makes no sense: it must not end the reading of everybody else
                await self._isolate()
            else:
                self._deliver(after, found)
                await asyncio.sleep(self._patience.pause if found else 0)

    def _positions(self) -> dict[Ref, int]:
        self._added.clear()
        return {ref: mirror.top for ref, mirror in self._mirrors.items() if not mirror.done}

    def _deliver(self, after: dict[Ref, int], found: dict[Ref, tuple[Logged, ...]]) -> None:
        for mirror in self._live():
            mirror.stall(stalled=False)
        for ref, entries in found.items():
            self._extend(ref, after[ref], entries)

    def _extend(self, ref: Ref, after: int, entries: tuple[Logged, ...]) -> None:
        mirror = self._mirrors.get(ref)
        # A mirror that was made while the read was in flight may not reach to where that began.
        if mirror is not None and mirror.top >= after:
            self._hear(ref)
            mirror.extend(entries)

    def _live(self) -> list[Tail]:
        return list(self._mirrors.values())

    def _hear(self, ref: Ref) -> None:
        self._heard[ref] = asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        """No answer: the viewers are told, and nobody is judged for the silence."""
        for mirror in self._live():
            mirror.stall(stalled=True)
        for ref in list(self._mirrors):
            self._hear(ref)
        await asyncio.sleep(self._patience.retry)

    async def _isolate(self) -> None:
        """One bad key spoils the read of all: find it, and go on without it."""
        for ref in list(self._mirrors):
            with suppress(StoreDown):
                await self._ask(ref)
        await asyncio.sleep(self._patience.retry)

    async def _interrupt(self) -> None:
        """Wake the blocking read for each mirror that it does not know yet."""
        while True:
            await self._added.wait()
            while self._added.is_set():
                with suppress(StoreError):
                    await self._store.wake(self._partition)
                await asyncio.sleep(self._patience.pause)

    async def _audit(self) -> None:
        """Ask after the logs that have been quiet for long."""
        while True:
            await asyncio.sleep(self._patience.quiet / 5)
            self._heard = {ref: when for ref, when in self._heard.items() if ref in self._mirrors}
            before = asyncio.get_running_loop().time() - self._patience.quiet
            for ref in [ref for ref, when in self._heard.items() if when <= before]:
                with suppress(StoreDown):
                    await self._ask(ref)

    async def _ask(self, ref: Ref) -> None:
        """Read what the turn's hash says."""
        mirror = self._mirrors.get(ref)
        if mirror is None or mirror.done:
            return
        position = mirror.top  # it may grow while the answer is on its way
        try:
            page = await self._store.read(ref, position, 500)
        except StoreDown:
            raise
        except Exception:
            mirror.lose(PositionLost(ref, mirror.top, None, -1))
            del self._mirrors[ref]
            return
        self._hear(ref)
        mirror.extend(page.entries)
        if page.status is None or page.top < position or (page.status in FINAL and not page.entries):
            mirror.lose(PositionLost(ref, mirror.top, page.status, page.top))
