"""Mirrors of logs that other nodes write, in one partition: one blocking read feeds all of them."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from weakref import WeakValueDictionary

import msgspec

from server.background import Supervisor
from server.log.buffer import LogBuffer
from server.protocol.status import FINAL
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreDown, StoreError
from server.store.types import LogEntry, TurnRef

PAGE_ENTRIES = 500  # entries of one read of a log
CHECKS_PER_QUIET = 5  # how often a log's silence is measured while it lasts `quiet_seconds`


class FollowPolicy(msgspec.Struct, frozen=True):
    """How long following a log waits for what. Everything in seconds."""

    behind_seconds: float = 2.0  # for a running log to reach a subscriber's position again
    quiet_seconds: float = 5.0  # without news of a log, until the turn itself is read
    wake_pause: float = 0.005  # of a partition's read after each wake, so that more comes together
    retry_seconds: float = 0.1  # after the store did not answer
    block_seconds: float = 1.0  # of one blocking read


class RemoteTailer:
    """Feeds one mirror, a LogBuffer, per followed log. A mirror that no subscription holds any more is dropped.

    Three tasks, which end with close(): the blocking read; waking it when it does not know a new mirror yet; and
    checking the turns whose logs are quiet, since a deleted or expired log never says so.
    """

    def __init__(
        self, store: Store, partition: int, policy: FollowPolicy, supervisor: Supervisor | None = None
    ) -> None:
        self._store = store
        self._partition = partition
        self._policy = policy
        self._mirrors: WeakValueDictionary[TurnRef, LogBuffer] = WeakValueDictionary()
        # When there was last news of each log, in the loop's time.
        self._last_heard: dict[TurnRef, float] = {}
        # Set when a mirror was added that the read in flight does not know.
        self._added = asyncio.Event()
        # Set while the read has something to read, as far as it knows.
        self._has_mirrors = asyncio.Event()
        supervisor = supervisor or Supervisor()
        self._tasks = [
            supervisor.start("tailer", self._read_forever),
            supervisor.start("tailer_waker", self._wake_for_new_mirrors),
            supervisor.start("tailer_quiet_check", self._check_quiet_logs),
        ]

    async def close(self) -> None:
        """End the tasks and send the readers elsewhere."""
        for task in self._tasks:
            await task.end()
        for mirror in self._live():
            mirror.close()

    def mirror(self, ref: TurnRef) -> LogBuffer | None:
        """The mirror of a log that is being followed."""
        mirror = self._mirrors.get(ref)
        return None if mirror is None or mirror.closed or mirror.lost is not None else mirror

    def follow(self, ref: TurnRef, position: int, entries: Iterable[LogEntry]) -> LogBuffer:
        """A mirror of a log from `position` on, where `entries` follow. It is fed as long as the caller holds it.

        There is one mirror per log. Who comes from below an existing one gets `entries` as a closed buffer, to read
        up to the mirror first.
        """
        mirror = self.mirror(ref)
        if mirror is not None and mirror.base <= position:
            return mirror
        if mirror is not None and (known := tuple(entries)):
            return LogBuffer(position, known, closed=True)
        if mirror is not None:
            mirror.close()
        mirror = self._mirrors[ref] = LogBuffer(position, entries)
        self._mark_heard(ref)
        self._added.set()
        self._has_mirrors.set()
        return mirror

    # -- the blocking read -------------------------------------------------------------------------------------------

    async def _read_forever(self) -> None:
        while True:
            after = self._positions()
            if not after:
                self._has_mirrors.clear()
                await self._has_mirrors.wait()
                continue
            try:
                found = await self._store.follow(after, int(self._policy.block_seconds * 1000))
            except StoreDown:
                await self._pause()
            except Exception:  # a bad key, or what makes no sense: it must not end the reading of everybody else
                await self._check_each()
            else:
                self._deliver(after, found)
                await asyncio.sleep(self._policy.wake_pause if found else 0)

    def _positions(self) -> dict[TurnRef, int]:
        """Where to read each log on."""
        self._added.clear()
        return {ref: mirror.last_seq for ref, mirror in self._mirrors.items() if not mirror.done}

    def _deliver(self, after: dict[TurnRef, int], found: dict[TurnRef, tuple[LogEntry, ...]]) -> None:
        for mirror in self._live():
            mirror.set_stalled(stalled=False)
        for ref, entries in found.items():
            mirror_now = self._mirrors.get(ref)
            # A mirror that was made while the read was in flight may not reach to where that began.
            if mirror_now is None or mirror_now.last_seq < after[ref]:
                continue
            self._mark_heard(ref)
            try:
                mirror_now.extend(entries)
            except Exception:
                self._lose(ref, mirror_now)

    async def _pause(self) -> None:
        """The store does not answer: readers are told, and no log's silence counts against it."""
        for mirror in self._live():
            mirror.set_stalled(stalled=True)
        for ref in list(self._mirrors):
            self._mark_heard(ref)
        await asyncio.sleep(self._policy.retry_seconds)

    async def _check_each(self) -> None:
        """One bad key spoils the read of all: find the log that it belongs to, and go on without it."""
        for ref in list(self._mirrors):
            with suppress(StoreDown):
                await self._check_turn(ref)
        await asyncio.sleep(self._policy.retry_seconds)

    async def _wake_for_new_mirrors(self) -> None:
        while True:
            await self._added.wait()
            while self._added.is_set():
                with suppress(StoreError):
                    await self._store.wake(self._partition)
                await asyncio.sleep(self._policy.wake_pause)

    # -- quiet logs --------------------------------------------------------------------------------------------------

    async def _check_quiet_logs(self) -> None:
        while True:
            await asyncio.sleep(self._policy.quiet_seconds / CHECKS_PER_QUIET)
            self._last_heard = {ref: when for ref, when in self._last_heard.items() if ref in self._mirrors}
            before = asyncio.get_running_loop().time() - self._policy.quiet_seconds
            for ref in [ref for ref, when in self._last_heard.items() if when <= before]:
                with suppress(StoreDown):
                    await self._check_turn(ref)

    async def _check_turn(self, ref: TurnRef) -> None:
        """Read the turn and its log: the mirror is lost where the log is gone or shorter. Raises StoreDown."""
        mirror = self._mirrors.get(ref)
        if mirror is None or mirror.done:
            return
        position = mirror.last_seq  # it may grow while the answer is on its way
        try:
            page = await self._store.read(ref, position, PAGE_ENTRIES)
            self._mark_heard(ref)
            mirror.extend(page.entries)
        except StoreDown:
            raise
        except Exception:
            self._lose(ref, mirror)
            return
        if page.status is None or page.last_seq < position or (page.status in FINAL and not page.entries):
            mirror.lose(PositionLost(ref, mirror.last_seq, page.status, page.last_seq))

    def _lose(self, ref: TurnRef, mirror: LogBuffer) -> None:
        """What this log holds makes no sense: its readers are told, and nobody else is."""
        mirror.lose(PositionLost(ref, mirror.last_seq, None, -1))
        self._mirrors.pop(ref, None)

    def _live(self) -> list[LogBuffer]:
        """All mirrors, held while the caller iterates."""
        return list(self._mirrors.values())

    def _mark_heard(self, ref: TurnRef) -> None:
        self._last_heard[ref] = asyncio.get_running_loop().time()
