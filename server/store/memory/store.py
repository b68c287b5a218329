"""The store without Redis: same contract, one process, nothing expires. For tests, for measuring
what the log costs (`STORE=memory`), and to read what the contract is."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from server.protocol.status import FINAL, Status
from server.store.errors import KeyReused, Locked, Missing, Moved
from server.store.memory.history import MemoryHistory
from server.store.types import (
    HOLE,
    Append,
    Checkpoint,
    ClusterSnapshot,
    CreateResult,
    Ending,
    Lease,
    LogEntry,
    LogPage,
    NewTurn,
    Turn,
    TurnRef,
    WriteResult,
    WriteStatus,
)


class MemoryStore(MemoryHistory):
    """Everything in dictionaries. Each method runs without awaiting, so each is atomic."""

    def __init__(self, *, partitions: int = 1) -> None:
        super().__init__(partitions)
        # Which turn an idempotency key made, with the fingerprint of its request.
        self._once: dict[tuple[str, str], tuple[str, str]] = {}
        # What a deleted turn leaves.
        self._gone: set[TurnRef] = set()
        # Which process of the store each turn was last claimed from; a test that changes `run` starts it anew.
        self.run = "1"
        self._runs: dict[TurnRef, str] = {}
        # Where a hole begins, once a claim has found one.
        self._holes: dict[TurnRef, int] = {}
        # Under which lease an owner writes again what this store had lost.
        self._back: dict[TurnRef, Lease] = {}
        self._counts: dict[str, int] = {}
        self._notes: dict[str, bytes] = {}
        self._mail: dict[str, list[TurnRef]] = {}
        # Set and replaced whenever a log grows or somebody calls wake().
        self._news: dict[int, asyncio.Event] = {}

    async def create(self, new: NewTurn) -> CreateResult:
        """Admit a turn."""
        once = (new.ref.caller, new.idempotency_key or "")
        if new.idempotency_key is not None and once in self._once:
            id, fingerprint = self._once[once]
            if fingerprint != new.fingerprint:
                raise KeyReused(new.idempotency_key)
            return CreateResult(None if id == new.ref.id else id)
        if new.ref in self._turns or new.ref in self._gone:
            return CreateResult()
        if new.conversation is not None:
            self._admit(new.ref, new.conversation, new.parent)
        self._write(new)
        if new.idempotency_key is not None:
            self._once[once] = (new.ref.id, new.fingerprint)
        return CreateResult()

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """The turn of an idempotency key."""
        return self._once.get((caller, key))

    def _admit(self, ref: TurnRef, conversation: str, parent: Checkpoint | None) -> None:
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
            new.ref,
            status,
            new.last_seq,
            new.lease,
            False,
            new.kept,
            new.conversation,
            new.record,
            created_at=time.time(),
        )
        self._fences[new.ref] = new.lease.fence if new.lease else 0
        self._runs[new.ref] = self.run
        self._logs[new.ref] = [LogEntry(new.last_seq, new.entry)]
        self._parents[new.ref] = new.parent
        self._inputs[new.ref] = new.input
        if new.conversation is not None:
            self._own[new.ref] = self._push((new.ref.caller, new.conversation), new.input)

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """Append many turns' entries in one call."""
        return [self._append(one) for one in batch]

    def _append(self, one: Append, status: Status | None = None) -> WriteResult:
        refusal = self._refuse(one, ends=status is not None)
        if refusal is not None:
            return refusal
        self._logs[one.ref].append(LogEntry(one.last_seq, one.entry, one.after_seq, status is not None))
        self._change(one.ref, last_seq=one.last_seq)
        self._tell(one.ref)
        return self._say(WriteStatus.OK, one.ref)

    def _refuse(self, one: Append, *, ends: bool) -> WriteResult | None:
        turn = self._turns.get(one.ref)
        if turn is None:
            return WriteResult(WriteStatus.LOST)
        if turn.status in FINAL:
            again = self._ended.get(one.ref) == (one.lease, one.last_seq)
            return self._say(WriteStatus.DUPLICATE if again else WriteStatus.FINISHED, one.ref)
        if turn.lease != one.lease:
            return self._say(WriteStatus.FENCED, one.ref)
        may_skip = self._holes.get(one.ref) == turn.last_seq or self._back.get(one.ref) == one.lease
        over_hole = may_skip and one.after_seq == turn.last_seq + HOLE
        if turn.last_seq != one.after_seq and not over_hole:
            again = turn.last_seq >= one.last_seq and not ends
            return self._say(WriteStatus.DUPLICATE if again else WriteStatus.GAP, one.ref)
        return None

    def _say(self, answer: WriteStatus, ref: TurnRef) -> WriteResult:
        turn = self._turns.get(ref)
        return (
            WriteResult(WriteStatus.LOST) if turn is None else WriteResult(answer, turn.last_seq, turn.stop, turn.lease)
        )

    def _change(self, ref: TurnRef, **changes: object) -> None:
        self._turns[ref] = msgspec.structs.replace(self._turns[ref], **changes)

    def _tell(self, ref: TurnRef) -> None:
        self._news.pop(self.partition(ref.caller), asyncio.Event()).set()

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """Take a turn."""
        turn = self._turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._say(WriteStatus.FINISHED, ref)
        if turn.lease != seen:
            mine = turn.lease is not None and turn.lease.owner == owner
            return self._claimed(WriteStatus.DUPLICATE if mine else WriteStatus.FENCED, ref)
        if not above:
            self._count(turn)
            if turn.lease is not None and self._runs[ref] != self.run:
                self._holes[ref] = turn.last_seq
        self._claimed_at[ref], self._runs[ref] = turn.last_seq, self.run
        self._fences[ref] = max(self._fences[ref], above) + 1
        if above:
            self._back[ref] = Lease(self._fences[ref], owner)
        self._change(ref, lease=Lease(self._fences[ref], owner), status=Status.IN_PROGRESS, offered=False)
        return self._claimed(WriteStatus.OK, ref)

    def _claimed(self, answer: WriteStatus, ref: TurnRef) -> WriteResult:
        turn = self._turns[ref]
        hole = self._holes.get(ref) == turn.last_seq
        said = self._say(answer, ref)
        return msgspec.structs.replace(said, hole=hole, claims=turn.claims, idle_claims=turn.idle_claims)

    def _count(self, turn: Turn) -> None:
        if turn.lease is not None and not turn.offered:
            self._change(turn.ref, claims=turn.claims + 1, idle_claims=self._idle(turn) + 1)

    def _idle(self, turn: Turn) -> int:
        return turn.idle_claims if self._claimed_at.get(turn.ref) == turn.last_seq else 0

    async def offer(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Mark a running turn as free to claim."""
        return self._held(ref, lease) or self._marked(ref, offered=True)

    async def release(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Give a turn back."""
        turn = self._turns.get(ref)
        if turn is not None and turn.status not in FINAL and turn.lease is None and self._released.get(ref) == lease:
            return self._say(WriteStatus.DUPLICATE, ref)
        refusal = self._held(ref, lease)
        if refusal is None:
            self._released[ref] = lease
        return refusal or self._marked(ref, lease=None, offered=False)

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Ask for a stop."""
        turn = self._turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._say(WriteStatus.FINISHED, ref)
        return self._marked(ref, stop=True)

    def _held(self, ref: TurnRef, lease: Lease) -> WriteResult | None:
        turn = self._turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._say(WriteStatus.FINISHED, ref)
        return self._say(WriteStatus.FENCED, ref) if turn.lease != lease else None

    def _marked(self, ref: TurnRef, **changes: object) -> WriteResult:
        self._change(ref, **changes)
        return self._say(WriteStatus.OK, ref)

    async def finish(self, ending: Ending) -> WriteResult:
        """Write a turn's end."""
        ref = ending.append.ref
        outcome = self._append(ending.append, ending.status)
        if outcome.status is WriteStatus.OK:
            self._ended[ref] = (ending.append.lease, ending.append.last_seq)
            self._change(ref, status=ending.status, lease=None, offered=False)
            self._store(ending, self._turns[ref])
            self._leave(self._parents[ref], ref.caller)
            return self._say(WriteStatus.OK, ref)
        return outcome

    async def report_viewer(self, ref: TurnRef) -> None:
        """Say that somebody looks at it elsewhere."""
        if ref in self._turns:
            self._change(ref, viewer_reports=self._turns[ref].viewer_reports + 1)

    async def delete(self, ref: TurnRef) -> bool:
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

    async def turn(self, ref: TurnRef) -> Turn | None:
        """Read a turn."""
        turn = self._turns.get(ref)
        return None if turn is None else msgspec.structs.replace(turn, idle_claims=self._idle(turn))

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        """Part of a log."""
        turn = self._turns.get(ref)
        if turn is None:
            return LogPage((), None)
        return LogPage(self._above(ref, after)[:limit], turn.status, turn.last_seq)

    def _above(self, ref: TurnRef, after: int) -> tuple[LogEntry, ...]:
        return tuple(entry for entry in self._logs.get(ref, ()) if entry.last_seq > after)

    async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
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

    def _grown(self, after: dict[TurnRef, int]) -> dict[TurnRef, tuple[LogEntry, ...]]:
        return {ref: entries for ref, number in after.items() if (entries := self._above(ref, number))}

    async def wake(self, partition: int) -> None:
        """Make a follow return."""
        self._news.pop(partition, asyncio.Event()).set()

    async def unfinished_turns(self, partition: int) -> list[Turn]:
        """All unfinished turns of a partition."""
        return [
            msgspec.structs.replace(turn, record={}, idle_claims=self._idle(turn))
            for ref, turn in self._turns.items()
            if turn.status not in FINAL and self.partition(ref.caller) == partition
        ]

    async def beat(self, owner: str, note: bytes) -> ClusterSnapshot:
        """Count this process up."""
        self._counts[owner] = self._counts.get(owner, 0) + 1
        self._notes[owner] = note
        return ClusterSnapshot(dict(self._counts), dict(self._notes), tuple(self._mail.pop(owner, ())))

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
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
