"""Which nodes are dead: every process counts up, and a count that stands still between answered reads is a dead one.

No clock is compared but the reader's own, and only answered reads count: a stalled Redis, a failover or a clock step
declares nobody dead. A verdict may be wrong (a process that was frozen comes back); it moves turns, it never changes
them, since every write is fenced.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from server.store.contracts import NodeRegistry
from server.store.errors import StoreError
from server.store.types import ClusterSnapshot, TurnRef
from server.telemetry.unreadable import UnreadableRecords

log = structlog.get_logger(__name__)


class HeartbeatConfig(msgspec.Struct, frozen=True):
    """How often a node counts up, and how soon a count that stands still is a dead node."""

    interval: float = 0.15  # seconds between two beats
    missed_beats: int = 4  # answered reads in which a count must stand still
    grace_after_silence: float = 2.0  # seconds after an unanswered read in which nobody is judged
    forget_after: float = 60.0  # seconds after which a dead process is struck out of the registry


class NodeInfo(msgspec.Struct, frozen=True, rename={"model_version": "model", "free_slots": "free"}):
    """What a node says of itself. It is kept as JSON, under the names that earlier releases gave its fields."""

    state: str  # as `NodeState`; a node of another release may know others
    model_version: str = ""  # of the loaded model
    free_slots: int = 0


class FailureDetector:
    """One reader's judgement of all other nodes.

    With `exclusive` nobody else uses this store: whatever another process left was left for good.
    """

    def __init__(self, own: str, config: HeartbeatConfig, *, exclusive: bool = False) -> None:
        self.own = own
        self.config = config
        self.exclusive = exclusive
        self.nodes: dict[str, NodeInfo] = {}  # of all that were in the latest read
        self._counts: dict[str, int] = {}  # as last read
        self._still: dict[str, int] = {}  # reads in which the count stood still
        self._reads = 0  # answered ones in a row
        self._patient_until = 0.0  # monotonic time
        self._died: dict[str, float] = {}  # monotonic time of the verdict

    def observe(self, counts: Mapping[str, int], nodes: Mapping[str, NodeInfo], now: float) -> bool:
        """Take an answered read. Whether a node's state changed: a death, a recovery, another word of its own."""
        before = self.dead_nodes(), {owner: info.state for owner, info in self.nodes.items()}
        self._reads += 1
        self._still = {
            owner: self._still.get(owner, 0) + 1 if self._counts.get(owner) == count else 0
            for owner, count in counts.items()
        }
        self._counts, self.nodes = dict(counts), dict(nodes)
        dead = {owner for owner in counts if owner != self.own and self._is_dead(owner, now)}
        self._died = {owner: self._died.get(owner, now) for owner in dead}
        return before != (self.dead_nodes(), {owner: info.state for owner, info in self.nodes.items()})

    def on_unanswered(self, now: float) -> None:
        """A read was not answered: nobody can be blamed for silence."""
        self._reads = 0
        self._still.clear()
        self._patient_until = now + self.config.grace_after_silence

    def is_gone(self, owner: str, now: float) -> bool:
        """Whether this process will never write again: it is dead, struck out, or its engine is."""
        if owner == self.own:
            return False
        if self.exclusive:
            return True
        if owner not in self._counts:
            return self._reads >= self.config.missed_beats and now >= self._patient_until
        return owner in self._died or self.nodes[owner].state in {"failed", "stopped"}

    def is_still_gone(self, owner: str, count: int | None, now: float) -> bool:
        """The same with the owner's count as it was read just now, None where it is struck out.

        A verdict that is carried about becomes stale: while a turn waited for a slot, its owner may have come back.
        """
        if self.exclusive or not self.is_gone(owner, now):
            return self.is_gone(owner, now)
        has_ended = owner in self.nodes and self.nodes[owner].state in {"failed", "stopped"}
        return has_ended or count is None or count == self._counts.get(owner)

    def dead_nodes(self) -> frozenset[str]:
        """All that are listed and dead."""
        return frozenset(self._died)

    def free_slots(self, model_version: str) -> dict[str, int]:
        """Free slots of the living nodes that can run turns of this model version, this one included."""
        return {
            owner: info.free_slots
            for owner, info in self.nodes.items()
            if info.state == "ready" and info.model_version == model_version and owner not in self._died
        }

    def serves(self, model_version: str, now: float) -> bool:
        """Whether a living node has this model loaded, or it cannot be known at the moment."""
        if self.exclusive:
            return self.own in self.nodes and self.nodes[self.own].model_version == model_version
        if self._reads < self.config.missed_beats or now < self._patient_until:
            return True
        return any(
            info.model_version == model_version and not self.is_gone(owner, now) for owner, info in self.nodes.items()
        )

    def long_dead(self, now: float) -> list[tuple[str, int]]:
        """Those that can be struck out, with their last counts."""
        wait = self.config.forget_after
        return [(owner, self._counts[owner]) for owner, since in self._died.items() if now - since > wait]

    def _is_dead(self, owner: str, now: float) -> bool:
        """Once dead, dead until it counts on, even while nobody may be judged anew."""
        if owner in self._died and self._still[owner] > 0:
            return True
        return self._still[owner] >= self.config.missed_beats and now >= self._patient_until


class HeartbeatCallbacks(msgspec.Struct, frozen=True):
    """What a heartbeat finds out. None of them may wait."""

    changed: Callable[[], None]  # a node's state changed
    notified: Callable[[TurnRef], None]  # another node asks this one to look at a turn of its own
    store_lost: Callable[[], None] = lambda: None  # a beat was not answered
    store_back: Callable[[], None] = lambda: None  # the store answers again, or has forgotten some of our beats


class Heartbeater:
    """Counts this process up, on the loop that writes the logs: when that hangs, so does this."""

    def __init__(
        self,
        registry: NodeRegistry,
        detector: FailureDetector,
        describe: Callable[[], NodeInfo],
        callbacks: HeartbeatCallbacks,
        *,
        unreadable: UnreadableRecords | None = None,
    ) -> None:
        self.detector = detector
        self._registry = registry
        self._describe = describe  # what this node says of itself now
        self._on = callbacks
        self._unreadable = unreadable or UnreadableRecords()
        self._count = 0  # of our own beats, as last read
        self._is_unsure = False  # the last beat was not answered

    async def run(self) -> None:
        """Beat until it is cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self.detector.config.interval)

    async def beat(self) -> None:
        """Count up once, and judge."""
        try:
            snapshot = await self._registry.beat(self.detector.own, msgspec.json.encode(self._describe()))
        except StoreError:
            self.detector.on_unanswered(time.monotonic())
            self._is_unsure = True
            self._on.store_lost()
            return
        self._observe(snapshot)
        for owner, count in self.detector.long_dead(time.monotonic()):
            await self._retire(owner, count)

    async def is_still_gone(self, owner: str) -> bool:
        """Look at a process once more, just before it is fenced. Raises StoreDown without an answer."""
        count = None if self.detector.exclusive else await self._registry.beats(owner)
        return self.detector.is_still_gone(owner, count, time.monotonic())

    def _observe(self, snapshot: ClusterSnapshot) -> None:
        nodes = {owner: self._decoded(owner, info) for owner, info in snapshot.nodes.items()}
        known_dead = self.detector.dead_nodes()
        before, self._count = self._count, snapshot.counts.get(self.detector.own, 0)
        if self._is_unsure or self._count <= before:
            self._is_unsure = False
            self._on.store_back()
        if self.detector.observe(snapshot.counts, nodes, time.monotonic()):
            for owner in self.detector.dead_nodes() - known_dead:
                log.warning("node_dead", owner=owner, state=nodes[owner].state)
            self._on.changed()
        for ref in snapshot.notifications:
            self._on.notified(ref)

    async def _retire(self, owner: str, count: int) -> None:
        try:
            await self._registry.retire(owner, count)
        except StoreError as error:
            log.debug("node_not_retired", owner=owner, error=str(error))

    def _decoded(self, owner: str, info: bytes) -> NodeInfo:
        """A node of another release may say more, or less."""
        try:
            return msgspec.json.decode(info, type=NodeInfo)
        except msgspec.MsgspecError as error:
            self._unreadable.report("node", owner, error)
            return NodeInfo("unknown")
