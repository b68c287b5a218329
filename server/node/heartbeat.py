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

from server.store.base import Ref, Roll, Store, StoreError

log = structlog.get_logger(__name__)


class Tempo(msgspec.Struct, frozen=True):
    """Of the beats."""

    beat: float = 0.15  # seconds between two
    still: int = 4  # answered reads in which a count must stand still
    forgive: float = 2.0  # seconds after an unanswered read in which nobody is judged
    bury: float = 60.0  # seconds after which a dead process is struck out


class Note(msgspec.Struct, frozen=True):
    """What a node says of itself."""

    state: str  # loading | ready | draining | failed | stopped
    model: str = ""  # version of the loaded model
    free: int = 0  # slots


class Census:
    """One reader's judgement of all others."""

    def __init__(self, own: str, tempo: Tempo) -> None:
        self.own = own
        self.tempo = tempo
        self.notes: dict[str, Note] = {}  # of all that were in the latest read
        self._counts: dict[str, int] = {}
        self._still: dict[str, int] = {}  # reads in which the count stood still
        self._reads = 0  # answered ones in a row
        self._patient_until = 0.0  # monotonic time
        self._died: dict[str, float] = {}  # monotonic time of the verdict

    def read(self, counts: Mapping[str, int], notes: Mapping[str, Note], now: float) -> bool:
        """Take an answered read. Whether somebody's state changed: a death, a recovery, another note."""
        before = self.gone(), {owner: note.state for owner, note in self.notes.items()}
        self._reads += 1
        self._still = {
            owner: self._still.get(owner, 0) + 1 if self._counts.get(owner) == count else 0
            for owner, count in counts.items()
        }
        self._counts, self.notes = dict(counts), dict(notes)
        dead = {owner for owner in counts if owner != self.own and self._judged_dead(owner, now)}
        self._died = {owner: self._died.get(owner, now) for owner in dead}
        return before != (self.gone(), {owner: note.state for owner, note in self.notes.items()})

    def missed(self, now: float) -> None:
        """A read was not answered: nobody can be blamed for silence."""
        self._reads = 0
        self._still.clear()
        self._patient_until = now + self.tempo.forgive

    def is_gone(self, owner: str, now: float) -> bool:
        """Whether this process will never write again: dead, struck out, or its engine is."""
        if owner == self.own:
            return False
        if owner not in self._counts:
            return self._reads >= self.tempo.still and now >= self._patient_until
        return owner in self._died or self.notes[owner].state in {"failed", "stopped"}

    def gone(self) -> frozenset[str]:
        """All that are listed and dead."""
        return frozenset(self._died)

    def able(self, model: str) -> dict[str, int]:
        """Free slots of the living that can run turns of this model version, this one included."""
        return {
            owner: note.free
            for owner, note in self.notes.items()
            if note.state == "ready" and note.model == model and owner not in self._died
        }

    def forgotten(self, now: float) -> list[tuple[str, int]]:
        """Those that have been dead for long, with their last counts."""
        return [(owner, self._counts[owner]) for owner, since in self._died.items() if now - since > self.tempo.bury]

    def _judged_dead(self, owner: str, now: float) -> bool:
        if owner in self._died and self._still[owner] > 0:
            return True
        return self._still[owner] >= self.tempo.still and now >= self._patient_until


class Heart:
    """Beats while it runs, on the loop that writes the logs: when that hangs, so does this."""

    def __init__(
        self,
        store: Store,
        owner: str,
        note: Callable[[], Note],
        *,
        changed: Callable[[], None],
        mail: Callable[[Ref], None],
        missed: Callable[[], None] = lambda: None,
        doubted: Callable[[], None] = lambda: None,
        tempo: Tempo | None = None,
    ) -> None:
        self.tempo = tempo or Tempo()
        self.census = Census(owner, self.tempo)
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
            await asyncio.sleep(self.tempo.beat)

    async def beat(self) -> None:
        """Count up once, and judge."""
        try:
            roll = await self._store.beat(self._owner, msgspec.json.encode(self._note()))
        except StoreError:
            self.census.missed(time.monotonic())
            self._unsure = True
            self._missed()
            return
        self._take(roll)
        for owner, count in self.census.forgotten(time.monotonic()):
            await self._bury(owner, count)

    def _take(self, roll: Roll) -> None:
        notes = {owner: _read(note) for owner, note in roll.notes.items()}
        known = self.census.gone()
        before, self._count = self._count, roll.counts[self._owner]
        if self._unsure or self._count <= before:
            self._unsure = False
            self._doubted()
        if self.census.read(roll.counts, notes, time.monotonic()):
            for owner in self.census.gone() - known:
                log.warning("a node is dead", owner=owner, state=notes[owner].state)
            self._changed()
        for ref in roll.mail:
            self._mail(ref)

    async def _bury(self, owner: str, count: int) -> None:
        try:
            await self._store.retire(owner, count)
        except StoreError as error:
            log.debug("not struck out", owner=owner, error=str(error))


def _read(note: bytes) -> Note:
    """A node of another version may say more, or less."""
    try:
        return msgspec.json.decode(note, type=Note)
    except msgspec.MsgspecError:
        return Note("unknown")
