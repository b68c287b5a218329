"""Turns that nobody runs, and what a lost message left open.

Once a second, and at once when a node's state changes, every node reads the unfinished turns of each partition and
does what each of them needs of it.
"""

import asyncio
import time
from collections.abc import Mapping
from enum import Enum, auto
from hashlib import blake2b

import structlog

from server.node.heartbeat import FailureDetector
from server.node.scheduler import Resources, SlotScheduler
from server.store.errors import StoreDown, StoreError, StoreFull
from server.store.types import Lease, Turn, TurnRef
from server.turns.presence import Presence

AT_ONCE = 64  # turns that are checked before others get a turn of the loop
INTERVAL = 1.0  # seconds between two rounds without news
REPORT_SECONDS = 10.0  # between two reports that a turn has watchers here
ORPHANED_SECONDS = 60.0  # after which a turn that no living node can run is failed

log = structlog.get_logger(__name__)


class RepairAction(Enum):
    """What a turn needs of this node."""

    NOTHING = auto()
    STOP = auto()  # we run it and were asked to stop
    RELEASE = auto()  # it is ours and we do not run it
    ADOPT = auto()  # its owner is dead: somebody must go on
    HELP = auto()  # offered or queued: whoever has a free slot may go on
    REPORT_VIEWER = auto()  # somebody watches it here, and its owner wants to know


def repair_action(turn: Turn, owner: str, *, runs: bool, gone: bool, watched: bool) -> RepairAction:
    """Decide, for the node `owner`, which `runs` the turn or is about to; `gone` is about the turn's own owner."""
    mine = turn.lease is not None and turn.lease.owner == owner
    if runs:
        return RepairAction.STOP if turn.stop else RepairAction.NOTHING
    if mine:
        return RepairAction.RELEASE
    if turn.lease is None or (turn.offered and not gone):
        return RepairAction.HELP
    if gone:
        return RepairAction.ADOPT
    return RepairAction.REPORT_VIEWER if watched and not turn.kept else RepairAction.NOTHING


def preferred_owner(id: str, free_slots: Mapping[str, int]) -> str | None:
    """Which node takes an orphan first: all agree without talking, each gets a share as large as its free slots.

    Weighted rendezvous hashing (Efraimidis and Spirakis' key `draw ** (1 / weight)`).
    """
    free = {owner: slots for owner, slots in free_slots.items() if slots > 0}
    return max(free, key=lambda owner: _draw(id, owner) ** (1 / free[owner]), default=None)


def _draw(id: str, owner: str) -> float:
    """A number in (0, 1) that depends on nothing else."""
    digest = blake2b(f"{id} {owner}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 0.5) / 2**64


class Reconciler:
    """Carries out what unfinished turns need of this node."""

    def __init__(
        self,
        resources: Resources,
        scheduler: SlotScheduler,
        detector: FailureDetector,
        presence: Presence,
        cluster_changed: asyncio.Event,
        *,
        queue_seconds: float = 300.0,
    ) -> None:
        self.queue_seconds = queue_seconds  # that a turn without an owner waits for a node with its model
        self.interval = INTERVAL
        self.report_seconds = REPORT_SECONDS
        self._resources = resources
        self._scheduler = scheduler
        self._detector = detector
        self._presence = presence
        self._cluster_changed = cluster_changed  # set by the heartbeat: do not wait for the next round
        self._idle: dict[TurnRef, Lease] = {}  # turns of ours that we did not run in the last round
        self._orphans: dict[TurnRef, float] = {}  # monotonic time since which nobody goes on with them
        self._unserved: dict[TurnRef, float] = {}  # monotonic time since which no node has their model
        self._reported: dict[TurnRef, float] = {}  # monotonic time of our last report

    async def run(self) -> None:
        """Check until it is cancelled; only while the scheduler takes turns."""
        while True:
            try:
                async with asyncio.timeout(self.interval):
                    await self._cluster_changed.wait()
            except TimeoutError:
                pass
            self._cluster_changed.clear()
            if self._scheduler.is_open:
                await self.check_all()

    async def recover(self) -> int:
        """The first round. Returns how many turns of dead processes were taken up."""
        adopted = await self.check_all()
        if adopted:
            log.info("turns_recovered", turns=adopted)
        return adopted

    async def check_all(self) -> int:
        """One round over all unfinished turns, the oldest first. Returns how many were taken up."""
        partitions = range(self._resources.store.partitions)
        answers = [await self._unfinished(partition) for partition in partitions]
        turns = [turn for answer in answers for turn in answer or ()]
        if None not in answers:  # else those of a partition that is away would start afresh with every failure
            self._forget_all_but({turn.ref for turn in turns})
        adopted = 0
        for at, turn in enumerate(sorted(turns, key=lambda turn: turn.created_at)):
            if at % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            adopted += await self._check(turn)
        return adopted

    def _forget_all_but(self, unfinished: set[TurnRef]) -> None:
        for known in (self._idle, self._orphans, self._unserved, self._reported):
            for ref in known.keys() - unfinished:
                del known[ref]

    async def _unfinished(self, partition: int) -> list[Turn] | None:
        """None for a partition that does not answer, which keeps nobody from the others."""
        try:
            return await self._resources.store.unfinished_turns(partition)
        except StoreDown as error:
            log.debug("partition_not_reconciled", partition=partition, error=str(error))
        except StoreError as error:
            self._resources.telemetry.unreadable.report("unfinished turns", str(partition), str(error))
        except Exception as error:
            self._resources.telemetry.unreadable.report("unfinished turns", str(partition), error)
        return None

    async def _check(self, turn: Turn) -> bool:
        """One turn, alone: whatever is wrong with it must not keep this node from the others."""
        try:
            return await self._repair(turn)
        except (StoreDown, StoreFull) as error:
            log.warning("turn_not_repaired", response_id=turn.ref.id, error=str(error))
        except StoreError as error:
            self._resources.telemetry.unreadable.report("turn", turn.ref.id, str(error))
        except Exception as error:
            self._resources.telemetry.unreadable.report("turn", turn.ref.id, error)
        return False

    async def _repair(self, turn: Turn) -> bool:
        scheduler, ref = self._scheduler, turn.ref
        gone = turn.lease is not None and self._detector.is_gone(turn.lease.owner, time.monotonic())
        runs, watched = scheduler.knows(ref), self._presence.is_watched(ref)
        action = repair_action(turn, self._resources.owner, runs=runs, gone=gone, watched=watched)
        if action is not RepairAction.RELEASE:
            self._idle.pop(ref, None)
        if action is RepairAction.STOP:
            scheduler.stop_running(ref)
        elif action is RepairAction.RELEASE:
            await self._release(turn)
        elif action is RepairAction.ADOPT:
            return await self._adopt(turn)
        elif action is RepairAction.HELP:
            return await self._help(turn)
        elif action is RepairAction.REPORT_VIEWER:
            await self._report_viewer(ref)
        return False

    async def _release(self, turn: Turn) -> None:
        """Only what was seen twice: between two steps of ours a turn is rightly in nobody's hands."""
        assert turn.lease is not None
        if self._idle.get(turn.ref) == turn.lease:
            await self._resources.store.release(turn.ref, turn.lease)
        self._idle[turn.ref] = turn.lease

    async def _adopt(self, turn: Turn) -> bool:
        """Those who share the orphans of a node take each its own; the next round takes what is left."""
        now = time.monotonic()
        since = self._orphans.setdefault(turn.ref, now)
        exclusive = self._detector.exclusive
        free_slots = self._detector.free_slots(self._resources.engine.model.version)
        preferred = preferred_owner(turn.ref.id, free_slots)
        if since == now and not exclusive and preferred not in {None, self._resources.owner}:
            return False
        # Nodes that have its model may be busy for longer than that.
        too_long = now - since > ORPHANED_SECONDS and not self._detector.serves(turn.model_version, now)
        return await self._scheduler.adopt(turn.ref, other_version=exclusive or too_long)

    async def _help(self, turn: Turn) -> bool:
        """Take up what is free to claim. Without an owner, and without a node that has its model, a turn is ended."""
        now, version = time.monotonic(), turn.model_version
        is_ours = version in {"", self._resources.engine.model.version}
        if is_ours or turn.stop or turn.lease is not None or self._detector.serves(version, now):
            self._unserved.pop(turn.ref, None)
            if turn.stop or self._scheduler.can_help(turn):
                return await self._scheduler.adopt(turn.ref)
            return False
        if now - self._unserved.setdefault(turn.ref, now) <= self.queue_seconds:
            return False
        return await self._scheduler.adopt(turn.ref, other_version=True)

    async def _report_viewer(self, ref: TurnRef) -> None:
        now = time.monotonic()
        if now - self._reported.get(ref, -self.report_seconds) >= self.report_seconds:
            self._reported[ref] = now
            await self._resources.store.report_viewer(ref)
