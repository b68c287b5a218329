"""Who is alive: every process counts up, and a count that stands still between answered reads is a dead one.

No clock is compared but the reader's own, and only answered reads count: a stalled Redis, a failover or a clock step
declares nobody dead. A verdict may be wrong (a process that was frozen comes back); it moves turns, it never changes
them, since every write is fenced.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from server.store.contracts import Store
from server.store.errors import StoreError
from server.store.types import ClusterSnapshot, TurnRef

log = structlog.get_logger(__name__)


class HeartbeatConfig(msgspec.Struct, frozen=True):
    """Of the beats."""

    interval: float = 0.15  # seconds between two
    missed_beats: int = 4  # answered reads in which a count must stand still
    grace_after_silence: float = 2.0  # seconds after an unanswered read in which nobody is judged
    forget_after: float = 60.0  # seconds after which a dead process is struck out


class NodeInfo(msgspec.Struct, frozen=True, rename={"model_version": "model", "free_slots": "free"}):
    """What a node says of itself."""

    state: str  # loading | ready | draining | failed | stopped
    model_version: str = ""  # version of the loaded model
    free_slots: int = 0  # slots


class FailureDetector:
    """One reader's judgement of all others."""

    def __init__(self, own: str, tempo: HeartbeatConfig) -> None:
        self.own = own
        self.config = tempo
        self.nodes: dict[str, NodeInfo] = {}  # of all that were in the latest read
        self._counts: dict[str, int] = {}
        self._still: dict[str, int] = {}  # reads in which the count stood still
        self._reads = 0  # answered ones in a row
        self._patient_until = 0.0  # monotonic time
        self._died: dict[str, float] = {}  # monotonic time of the verdict

    def observe(self, counts: Mapping[str, int], notes: Mapping[str, NodeInfo], now: float) -> bool:
        """Take an answered read. Whether somebody's state changed: a death, a recovery, another note."""
        before = self.dead_nodes(), {owner: note.state for owner, note in self.nodes.items()}
        self._reads += 1
        self._still = {
            owner: self._still.get(owner, 0) + 1 if self._counts.get(owner) == count else 0
            for owner, count in counts.items()
        }
        self._counts, self.nodes = dict(counts), dict(notes)
        dead = {owner for owner in counts if owner != self.own and self._judged_dead(owner, now)}
        self._died = {owner: self._died.get(owner, now) for owner in dead}
        return before != (self.dead_nodes(), {owner: note.state for owner, note in self.nodes.items()})

    def on_unanswered(self, now: float) -> None:
        """A read was not answered: nobody can be blamed for silence."""
        self._reads = 0
        self._still.clear()
        self._patient_until = now + self.config.grace_after_silence

    def is_gone(self, owner: str, now: float) -> bool:
        """Whether this process will never write again: dead, struck out, or its engine is."""
        if owner == self.own:
            return False
        if owner not in self._counts:
            return self._reads >= self.config.missed_beats and now >= self._patient_until
        return owner in self._died or self.nodes[owner].state in {"failed", "stopped"}

    def dead_nodes(self) -> frozenset[str]:
        """All that are listed and dead."""
        return frozenset(self._died)

    def free_slots(self, model: str) -> dict[str, int]:
        """Free slots of the living that can run turns of this model version, this one included."""
        return {
            owner: note.free_slots
            for owner, note in self.nodes.items()
            if note.state == "ready" and note.model_version == model and owner not in self._died
        }

    def long_dead(self, now: float) -> list[tuple[str, int]]:
        """Those that have been dead for long, with their last counts."""
        return [
            (owner, self._counts[owner])
            for owner, since in self._died.items()
            if now - since > self.config.forget_after
        ]

    def _judged_dead(self, owner: str, now: float) -> bool:
        if owner in self._died and self._still[owner] > 0:
            return True
        return self._still[owner] >= self.config.missed_beats and now >= self._patient_until


class Heartbeater:
    """Beats while it runs, on the loop that writes the logs: when that hangs, so does this."""

    def __init__(
        self,
        store: Store,
        owner: str,
        note: Callable[[], NodeInfo],
        *,
        changed: Callable[[], None],
        mail: Callable[[TurnRef], None],
        missed: Callable[[], None] = lambda: None,
        doubted: Callable[[], None] = lambda: None,
        tempo: HeartbeatConfig | None = None,
    ) -> None:
        self.config = tempo or HeartbeatConfig()
        self.detector = FailureDetector(owner, self.config)
        self._store = store
        self._owner = owner
        self._note = note
        self._changed = changed  # called when somebody's state changed
        self._mail = mail  # called with each turn that this owner should look at
        self._missed = missed  # called when a beat was not answered
        self._doubted = doubted  # called when Redis answers again, or has forgotten some of our beats
        self._count = 0  # of our own beats, as last read
        self._unsure = False  # the last beat was not answered

    async def run(self) -> None:
        """Beat until it is cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self.config.interval)

    async def beat(self) -> None:
        """Count up once, and judge."""
        try:
            roll = await self._store.beat(self._owner, msgspec.json.encode(self._note()))
        except StoreError:
            self.detector.on_unanswered(time.monotonic())
            self._unsure = True
            self._missed()
            return
        self._take(roll)
        for owner, count in self.detector.long_dead(time.monotonic()):
            await self._bury(owner, count)

    def _take(self, roll: ClusterSnapshot) -> None:
        notes = {owner: _read(note) for owner, note in roll.nodes.items()}
        known = self.detector.dead_nodes()
        before, self._count = self._count, roll.counts[self._owner]
        if self._unsure or self._count <= before:
            self._unsure = False
            self._doubted()
        if self.detector.observe(roll.counts, notes, time.monotonic()):
            for owner in self.detector.dead_nodes() - known:
                log.warning("a node is dead", owner=owner, state=notes[owner].state)
            self._changed()
        for ref in roll.notifications:
            self._mail(ref)

    async def _bury(self, owner: str, count: int) -> None:
        try:
            await self._store.retire(owner, count)
        except StoreError as error:
            log.debug("not struck out", owner=owner, error=str(error))


def _read(note: bytes) -> NodeInfo:
    """A node of another version may say more, or less."""
    try:
        return msgspec.json.decode(note, type=NodeInfo)
    except msgspec.MsgspecError:
        return NodeInfo("unknown")
