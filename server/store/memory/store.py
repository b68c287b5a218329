"""The store without Redis: same contract, one process, nothing expires. For tests, for measuring
what the log costs (`STORE=memory`), and to read what the contract is."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from server.protocol.status import FINAL, Status
from server.store.base import (
    HOLE,
    Answer,
    Append,
    Checkpoint,
    Created,
    Ending,
    KeyReused,
    Lease,
    Locked,
    Logged,
    Missing,
    Moved,
    NewTurn,
    Outcome,
    Page,
    Ref,
    Roll,
    Turn,
)
from server.store.memory.history import MemoryHistory


class MemoryStore(MemoryHistory):
    """Everything in dictionaries. Each method runs without awaiting, so each is atomic."""

    def __init__(self, *, partitions: int = 1) -> None:
        super().__init__(partitions)
        # Which turn an idempotency key made, with the fingerprint of its request.
        self._once: dict[tuple[str, str], tuple[str, str]] = {}
        # What a deleted turn leaves.
        self._gone: set[Ref] = set()
        # Which process of the store each turn was last claimed from; a test that changes `run` starts it anew.
        self.run = "1"
        self._runs: dict[Ref, str] = {}
        # Where a hole begins, once a claim has found one.
        self._holes: dict[Ref, int] = {}
        # Under which lease an owner writes again what this store had lost.
        self._back: dict[Ref, Lease] = {}
        self._counts: dict[str, int] = {}
        self._notes: dict[str, bytes] = {}
        self._mail: dict[str, list[Ref]] = {}
        # Set and replaced whenever a log grows or somebody calls wake().
        self._news: dict[int, asyncio.Event] = {}

    async def create(self, new: NewTurn) -> Created:
        """Admit a turn."""
        once = (new.ref.caller, new.idempotency_key or "")
        if new.idempotency_key is not None and once in self._once:
            id, fingerprint = self._once[once]
            if fingerprint != new.fingerprint:
                raise KeyReused(new.idempotency_key)
            return Created(None if id == new.ref.id else id)
        if new.ref in self._turns or new.ref in self._gone:
            return Created()
        if new.conversation is not None:
            self._admit(new.ref, new.conversation, new.parent)
        self._write(new)
        if new.idempotency_key is not None:
            self._once[once] = (new.ref.id, new.fingerprint)
        return Created()

    async def made(self, caller: str, key: str) -> tuple[str, str] | None:
        """The turn of an idempotency key."""
        return self._once.get((caller, key))

    def _admit(self, ref: Ref, conversation: str, parent: Checkpoint | None) -> None:
        named = self._conversations.get((ref.caller, conversation))
        if named is None:
            raise Missing("conversation", conversation)
        if (active := self._active(ref.caller, named.active)) is not None:
            raise Locked(conversation, active)
        if parent is not None and len(self._segments[ref.caller, conversation]) - 1 != parent.position:
            raise Moved(conversation)
        self._conversations[ref.caller, conversation] = msgspec.structs.replace(named, active=ref.id)

    def _write(self, new: NewTurn) -> None:
        status = Status.QUEUED if new.lease is None else Status.IN_PROGRESS
        self._turns[new.ref] = Turn(
            new.ref, status, new.top, new.lease, False, new.kept, new.conversation, new.record, created_at=time.time()
        )
        self._fences[new.ref] = new.lease.fence if new.lease else 0
        self._runs[new.ref] = self.run
        self._logs[new.ref] = [Logged(new.top, new.entry)]
        self._parents[new.ref] = new.parent
        self._inputs[new.ref] = new.input
        if new.conversation is not None:
            self._own[new.ref] = self._push((new.ref.caller, new.conversation), new.input)

    async def append(self, batch: Sequence[Append]) -> list[Outcome]:
        """Append many turns' entries in one call."""
        return [self._append(one) for one in batch]

    def _append(self, one: Append, status: Status | None = None) -> Outcome:
        refusal = self._refuse(one, ends=status is not None)
        if refusal is not None:
            return refusal
        self._logs[one.ref].append(Logged(one.top, one.entry, one.after, status is not None))
        self._change(one.ref, top=one.top)
        self._tell(one.ref)
        return self._say(Answer.OK, one.ref)

    def _refuse(self, one: Append, *, ends: bool) -> Outcome | None:
        turn = self._turns.get(one.ref)
        if turn is None:
            return Outcome(Answer.LOST)
        if turn.status in FINAL:
            again = self._ended.get(one.ref) == (one.lease, one.top)
            return self._say(Answer.DUPLICATE if again else Answer.FINISHED, one.ref)
        if turn.lease != one.lease:
            return self._say(Answer.FENCED, one.ref)
        may_skip = self._holes.get(one.ref) == turn.top or self._back.get(one.ref) == one.lease
        over_hole = may_skip and one.after == turn.top + HOLE
        if turn.top != one.after and not over_hole:
            again = turn.top >= one.top and not ends
            return self._say(Answer.DUPLICATE if again else Answer.GAP, one.ref)
        return None

    def _say(self, answer: Answer, ref: Ref) -> Outcome:
        turn = self._turns.get(ref)
        return Outcome(Answer.LOST) if turn is None else Outcome(answer, turn.top, turn.stop, turn.lease)

    def _change(self, ref: Ref, **changes: object) -> None:
        self._turns[ref] = msgspec.structs.replace(self._turns[ref], **changes)

    def _tell(self, ref: Ref) -> None:
        self._news.pop(self.partition(ref.caller), asyncio.Event()).set()

    async def claim(self, ref: Ref, seen: Lease | None, owner: str, *, above: int = 0) -> Outcome:
        """Take a turn."""
        turn = self._turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._say(Answer.FINISHED, ref)
        if turn.lease != seen:
            mine = turn.lease is not None and turn.lease.owner == owner
            return self._claimed(Answer.DUPLICATE if mine else Answer.FENCED, ref)
        if not above:
            self._count(turn)
            if turn.lease is not None and self._runs[ref] != self.run:
                self._holes[ref] = turn.top
        self._claimed_at[ref], self._runs[ref] = turn.top, self.run
        self._fences[ref] = max(self._fences[ref], above) + 1
        if above:
            self._back[ref] = Lease(self._fences[ref], owner)
        self._change(ref, lease=Lease(self._fences[ref], owner), status=Status.IN_PROGRESS, offered=False)
        return self._claimed(Answer.OK, ref)

    def _claimed(self, answer: Answer, ref: Ref) -> Outcome:
        turn = self._turns[ref]
        hole = self._holes.get(ref) == turn.top
        said = self._say(answer, ref)
        return msgspec.structs.replace(said, hole=hole, claims=turn.claims, idle_claims=turn.idle_claims)

    def _count(self, turn: Turn) -> None:
        if turn.lease is not None and not turn.offered:
            self._change(turn.ref, claims=turn.claims + 1, idle_claims=self._idle(turn) + 1)

    def _idle(self, turn: Turn) -> int:
        return turn.idle_claims if self._claimed_at.get(turn.ref) == turn.top else 0

    async def offer(self, ref: Ref, lease: Lease) -> Outcome:
        """Mark a running turn as free to claim."""
        return self._held(ref, lease) or self._marked(ref, offered=True)

    async def release(self, ref: Ref, lease: Lease) -> Outcome:
        """Give a turn back."""
        turn = self._turns.get(ref)
        if turn is not None and turn.status not in FINAL and turn.lease is None and self._released.get(ref) == lease:
            return self._say(Answer.DUPLICATE, ref)
        refusal = self._held(ref, lease)
        if refusal is None:
            self._released[ref] = lease
        return refusal or self._marked(ref, lease=None, offered=False)

    async def cancel(self, ref: Ref) -> Outcome:
        """Ask for a stop."""
        turn = self._turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._say(Answer.FINISHED, ref)
        return self._marked(ref, stop=True)

    def _held(self, ref: Ref, lease: Lease) -> Outcome | None:
        turn = self._turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._say(Answer.FINISHED, ref)
        return self._say(Answer.FENCED, ref) if turn.lease != lease else None

    def _marked(self, ref: Ref, **changes: object) -> Outcome:
        self._change(ref, **changes)
        return self._say(Answer.OK, ref)

    async def finish(self, ending: Ending) -> Outcome:
        """Write a turn's end."""
        ref = ending.append.ref
        outcome = self._append(ending.append, ending.status)
        if outcome.answer is Answer.OK:
            self._ended[ref] = (ending.append.lease, ending.append.top)
            self._change(ref, status=ending.status, lease=None, offered=False)
            self._store(ending, self._turns[ref])
            self._leave(self._parents[ref], ref.caller)
            return self._say(Answer.OK, ref)
        return outcome

    async def look(self, ref: Ref) -> None:
        """Say that somebody looks at it elsewhere."""
        if ref in self._turns:
            self._change(ref, looked=self._turns[ref].looked + 1)

    async def delete(self, ref: Ref) -> bool:
        """Forget a response."""
        if ref not in self._turns:
            return False
        parent = self._parents[ref]
        for kept in (self._turns, self._logs, self._parents, self._inputs, self._ended, self._fences):
            kept.pop(ref, None)
        self._once = {key: value for key, value in self._once.items() if (key[0], value[0]) != (ref.caller, ref.id)}
        self._forget(ref)
        self._leave(parent, ref.caller)
        self._gone.add(ref)
        return True

    async def turn(self, ref: Ref) -> Turn | None:
        """Read a turn."""
        turn = self._turns.get(ref)
        return None if turn is None else msgspec.structs.replace(turn, idle_claims=self._idle(turn))

    async def read(self, ref: Ref, after: int, limit: int) -> Page:
        """Part of a log."""
        turn = self._turns.get(ref)
        if turn is None:
            return Page((), None)
        return Page(self._above(ref, after)[:limit], turn.status, turn.top)

    def _above(self, ref: Ref, after: int) -> tuple[Logged, ...]:
        return tuple(entry for entry in self._logs.get(ref, ()) if entry.top > after)

    async def follow(self, after: dict[Ref, int], wait_ms: int) -> dict[Ref, tuple[Logged, ...]]:
        """Block until one of these logs grows."""
        found = self._grown(after)
        if not found:
            partition = self.partition(next(iter(after)).caller)
            news = self._news.setdefault(partition, asyncio.Event())
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await news.wait()
            except TimeoutError:
                return {}
            found = self._grown(after)
        return found

    def _grown(self, after: dict[Ref, int]) -> dict[Ref, tuple[Logged, ...]]:
        return {ref: entries for ref, number in after.items() if (entries := self._above(ref, number))}

    async def wake(self, partition: int) -> None:
        """Make a follow return."""
        self._news.pop(partition, asyncio.Event()).set()

    async def sweep(self, partition: int) -> list[Turn]:
        """All unfinished turns of a partition."""
        return [
            msgspec.structs.replace(turn, record={}, idle_claims=self._idle(turn))
            for ref, turn in self._turns.items()
            if turn.status not in FINAL and self.partition(ref.caller) == partition
        ]

    async def beat(self, owner: str, note: bytes) -> Roll:
        """Count this process up."""
        self._counts[owner] = self._counts.get(owner, 0) + 1
        self._notes[owner] = note
        return Roll(dict(self._counts), dict(self._notes), tuple(self._mail.pop(owner, ())))

    async def tell(self, owner: str, ref: Ref) -> None:
        """Have an owner look at a turn."""
        self._mail.setdefault(owner, []).append(ref)

    async def retire(self, owner: str, count: int) -> None:
        """Strike out a dead process."""
        if self._counts.get(owner) == count:
            del self._counts[owner], self._notes[owner]

    async def check(self) -> None:
        """It is always there."""

    async def close(self) -> None:
        """Nothing to close."""
