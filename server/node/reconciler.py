"""Turns that nobody runs, and what a lost message left open.

Once a second, and at once when a node's state changes, every node reads the unfinished turns of each partition.
"""

import asyncio
import time
from collections.abc import Mapping
from enum import Enum, auto
from hashlib import blake2b

import msgspec
import structlog

from server.node.node import Node
from server.store.contracts import Store
from server.store.errors import StoreError
from server.store.types import Lease, Turn, TurnRef

SLICE = 64  # turns that are looked at before others get a turn of the loop
PAUSE = 1.0  # seconds between two looks without news
LOOKS = 10.0  # seconds between two reports that a turn has viewers here
ORPHANED = 60.0  # seconds after which a turn that no living node can run is failed
OVERTAKE = 5.0  # seconds by which a queued turn must be older than what waits here to be run here

log = structlog.get_logger(__name__)


class RepairAction(Enum):
    """What a turn needs of this node."""

    NOTHING = auto()
    STOP = auto()  # we run it and were asked to stop
    RELEASE = auto()  # it is ours and we do not run it
    ADOPT = auto()  # its owner is dead: somebody must go on
    HELP = auto()  # offered or queued: whoever has a free slot may go on
    LOOK = auto()  # somebody looks at it here, and its owner wants to know


def repair_action(turn: Turn, owner: str, *, runs: bool, gone: bool, viewed: bool) -> RepairAction:
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
    return RepairAction.LOOK if viewed and not turn.kept else RepairAction.NOTHING


def preferred_owner(id: str, able: Mapping[str, int]) -> str | None:
    """Which node takes an orphan first: all agree without talking, and each gets a share as large as its free slots."""
    free = {owner: slots for owner, slots in able.items() if slots > 0}
    return max(free, key=lambda owner: _draw(id, owner) ** (1 / free[owner]), default=None)


def _draw(id: str, owner: str) -> float:
    """A number in (0, 1) that depends on nothing else."""
    digest = blake2b(f"{id} {owner}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 0.5) / 2**64


class Reconciler:
    """Carries out a node's duties."""

    def __init__(self, node: Node, store: Store, *, pause: float = PAUSE, looks: float = LOOKS) -> None:
        self.node = node
        self.store = store
        self.pause = pause
        self.looks = looks
        self._idle: dict[TurnRef, Lease] = {}  # turns of ours that we did not run when last looked
        self._orphans: dict[TurnRef, float] = {}  # monotonic time since which nobody goes on with them
        self._looked: dict[TurnRef, float] = {}  # monotonic time of our last report

    async def run(self) -> None:
        """Sweep until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(self.pause):
                    await self.node.news.wait()
            except TimeoutError:
                pass
            self.node.news.clear()
            if self.node.state == "ready":
                await self.once()

    async def recover(self) -> int:
        """The first look. Returns how many turns of dead processes were taken up."""
        adopted = await self.once()
        if adopted:
            log.info("continuing", turns=adopted)
        return adopted

    async def once(self) -> int:
        """Look at all unfinished turns, the oldest first. Returns how many were taken up."""
        turns = [turn for partition in range(self.store.partitions) for turn in await self._unfinished(partition)]
        open_turns = {turn.ref for turn in turns}
        for kept in (self._idle, self._orphans, self._looked):
            for ref in kept.keys() - open_turns:
                del kept[ref]
        adopted = 0
        for at, turn in enumerate(sorted(turns, key=lambda turn: turn.created_at)):
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            adopted += await self._attend(turn)
        return adopted

    async def _unfinished(self, partition: int) -> list[Turn]:
        """A partition that does not answer keeps nobody from the others."""
        try:
            return await self.store.unfinished_turns(partition)
        except StoreError as error:
            log.debug("not swept", partition=partition, error=str(error))
            return []

    async def _attend(self, turn: Turn) -> bool:
        try:
            return await self._perform(turn)
        except (StoreError, KeyError, msgspec.DecodeError) as error:
            log.error("a turn cannot be continued", response_id=turn.ref.id, error=str(error))
            return False

    async def _perform(self, turn: Turn) -> bool:
        node = self.node
        gone = turn.lease is not None and node.is_gone(turn.lease.owner)
        runs, viewed = node.knows(turn.ref), node.presence.is_watched(turn.ref)
        what = repair_action(turn, node.owner, runs=runs, gone=gone, viewed=viewed)
        if what is not RepairAction.RELEASE:
            self._idle.pop(turn.ref, None)
        if what is RepairAction.STOP and turn.ref in node.running:
            node.running[turn.ref].stop()
        elif what is RepairAction.RELEASE:
            await self._release(turn)
        elif what is RepairAction.ADOPT:
            return await self._adopt(turn)
        elif what is RepairAction.HELP and (turn.stop or self._can_help(turn)):
            return await node.adopt(turn.ref)
        elif what is RepairAction.LOOK:
            await self._look(turn.ref)
        return False

    async def _release(self, turn: Turn) -> None:
        """Seen twice: between two steps of ours a turn is rightly in nobody's hands."""
        assert turn.lease is not None
        if self._idle.get(turn.ref) == turn.lease:
            await self.store.release(turn.ref, turn.lease)
        self._idle[turn.ref] = turn.lease

    async def _adopt(self, turn: Turn) -> bool:
        """Those who share the orphans of a node take each its own; a second look takes what is left."""
        now = time.monotonic()
        since = self._orphans.setdefault(turn.ref, now)
        able = self.node.heart.detector.free_slots(self.node.engine.model.version)
        if since == now and not self.node.alone and preferred_owner(turn.ref.id, able) not in {None, self.node.owner}:
            return False
        return await self.node.adopt(turn.ref, other_model=self.node.alone or now - since > ORPHANED)

    def _can_help(self, turn: Turn) -> bool:
        node = self.node
        free = node.engine.model.slots - node.busy - len(node.waiting)
        first = next(iter(node.waiting), None)
        overdue = first is not None and turn.lease is None and turn.created_at < first.spec.requested_at - OVERTAKE
        return free > 0 or overdue

    async def _look(self, ref: TurnRef) -> None:
        now = time.monotonic()
        if now - self._looked.get(ref, -self.looks) >= self.looks:
            self._looked[ref] = now
            await self.store.report_viewer(ref)
