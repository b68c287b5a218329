"""Turns, their leases and their logs in memory."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from server.protocol.status import FINAL, Status
from server.store.errors import KeyReused, Locked, Missing, Moved
from server.store.memory.state import MemoryPart, MemoryState
from server.store.types import (
    HOLE,
    Append,
    Checkpoint,
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


class MemoryTurnStore(MemoryPart):
    """Keeps the contract `TurnStore`."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__(state)
        # The turn that an idempotency key created, with the fingerprint of its request; by caller and key.
        self._idempotent: dict[tuple[str, str], tuple[str, str]] = {}
        # Turns that were deleted.
        self._tombstones: set[TurnRef] = set()
        # The highest fence that was ever given out.
        self._fences: dict[TurnRef, int] = {}
        # The last number of the log when it was last claimed.
        self._claimed_at: dict[TurnRef, int] = {}
        # Who released a turn last, and who ended it at which number: how repeats are recognised.
        self._released: dict[TurnRef, Lease] = {}
        self._ended: dict[TurnRef, tuple[Lease, int]] = {}
        # Which process of the store each turn was last claimed from; a test that changes `run` starts it anew.
        self.run = "1"
        self._runs: dict[TurnRef, str] = {}
        # Where a hole begins, once a claim has found one.
        self._holes: dict[TurnRef, int] = {}
        # Under which lease an owner who came back writes again what this store had lost.
        self._rewriting: dict[TurnRef, Lease] = {}
        # By partition: set and dropped whenever a log grows or somebody calls wake().
        self._grown_events: dict[int, asyncio.Event] = {}

    async def create(self, new: NewTurn) -> CreateResult:
        """See `TurnStore.create`."""
        key = (new.ref.caller, new.idempotency_key or "")
        if new.idempotency_key is not None and key in self._idempotent:
            id, fingerprint = self._idempotent[key]
            if fingerprint != new.fingerprint:
                raise KeyReused(new.idempotency_key)
            return CreateResult(None if id == new.ref.id else id)
        if new.ref in self._state.turns or new.ref in self._tombstones:
            return CreateResult()
        if new.conversation is not None:
            self._lock_conversation(new.ref, new.conversation, new.parent)
        self._insert(new)
        if new.idempotency_key is not None:
            self._idempotent[key] = (new.ref.id, new.fingerprint)
        return CreateResult()

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """See `TurnStore.find_idempotent`."""
        return self._idempotent.get((caller, key))

    def _lock_conversation(self, ref: TurnRef, conversation: str, parent: Checkpoint | None) -> None:
        named = self._state.conversations.get((ref.caller, conversation))
        if named is None:
            raise Missing("conversation", conversation)
        if (running := self._state.running_turn(ref.caller, named)) is not None:
            raise Locked(conversation, running)
        if parent is not None and len(self._state.segments[ref.caller, conversation]) - 1 != parent.position:
            raise Moved(conversation)
        self._state.conversations[ref.caller, conversation] = msgspec.structs.replace(named, active=ref.id)

    def _insert(self, new: NewTurn) -> None:
        status = Status.QUEUED if new.lease is None else Status.IN_PROGRESS
        self._state.turns[new.ref] = Turn(
            new.ref,
            status,
            new.last_seq,
            new.lease,
            False,
            new.kept,
            new.conversation,
            new.record,
            created_at=time.time(),
            model_version=new.record.get("model", b"").decode(),
        )
        self._fences[new.ref] = new.lease.fence if new.lease else 0
        self._runs[new.ref] = self.run
        self._state.logs[new.ref] = [LogEntry(new.last_seq, new.entry)]
        self._state.parents[new.ref] = new.parent
        self._state.inputs[new.ref] = new.input
        if new.conversation is not None:
            self._state.input_positions[new.ref] = self._state.push((new.ref.caller, new.conversation), new.input)

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """See `TurnStore.append`."""
        return [self._append(one) for one in batch]

    def _append(self, one: Append, status: Status | None = None) -> WriteResult:
        refusal = self._refusal(one, ends=status is not None)
        if refusal is not None:
            return refusal
        self._state.logs[one.ref].append(LogEntry(one.last_seq, one.entry, one.after_seq, status is not None))
        self._change(one.ref, last_seq=one.last_seq)
        self._wake_followers(one.ref)
        return self._result(WriteStatus.OK, one.ref)

    def _refusal(self, one: Append, *, ends: bool) -> WriteResult | None:
        turn = self._state.turns.get(one.ref)
        if turn is None:
            return WriteResult(WriteStatus.LOST)
        if turn.status in FINAL:
            is_repeated = self._ended.get(one.ref) == (one.lease, one.last_seq)
            return self._result(WriteStatus.DUPLICATE if is_repeated else WriteStatus.FINISHED, one.ref)
        if turn.lease != one.lease:
            return self._result(WriteStatus.FENCED, one.ref)
        may_skip = self._holes.get(one.ref) == turn.last_seq or self._rewriting.get(one.ref) == one.lease
        is_over_hole = may_skip and one.after_seq == turn.last_seq + HOLE
        if turn.last_seq != one.after_seq and not is_over_hole:
            is_repeated = turn.last_seq >= one.last_seq and not ends
            return self._result(WriteStatus.DUPLICATE if is_repeated else WriteStatus.GAP, one.ref)
        return None

    def _result(self, status: WriteStatus, ref: TurnRef) -> WriteResult:
        turn = self._state.turns.get(ref)
        if turn is None:
            return WriteResult(WriteStatus.LOST)
        return WriteResult(status, turn.last_seq, turn.stop, turn.lease)

    def _change(self, ref: TurnRef, **changes: object) -> None:
        self._state.turns[ref] = msgspec.structs.replace(self._state.turns[ref], **changes)

    def _wake_followers(self, ref: TurnRef) -> None:
        self._grown_events.pop(self.partition(ref.caller), asyncio.Event()).set()

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """See `TurnStore.claim`."""
        turn = self._state.turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._result(WriteStatus.FINISHED, ref)
        if turn.lease != seen:
            is_own = turn.lease is not None and turn.lease.owner == owner
            return self._claim_result(WriteStatus.DUPLICATE if is_own else WriteStatus.FENCED, ref)
        if not above:
            self._count_claim(turn)
            if self._runs[ref] != self.run:
                self._holes[ref] = turn.last_seq
        self._claimed_at[ref], self._runs[ref] = turn.last_seq, self.run
        self._fences[ref] = max(self._fences[ref], above) + 1
        if above:
            self._rewriting[ref] = Lease(self._fences[ref], owner)
        self._change(ref, lease=Lease(self._fences[ref], owner), status=Status.IN_PROGRESS, offered=False)
        return self._claim_result(WriteStatus.OK, ref)

    def _claim_result(self, status: WriteStatus, ref: TurnRef) -> WriteResult:
        turn = self._state.turns[ref]
        hole = self._holes.get(ref) == turn.last_seq
        result = self._result(status, ref)
        return msgspec.structs.replace(result, hole=hole, claims=turn.claims, idle_claims=turn.idle_claims)

    def _count_claim(self, turn: Turn) -> None:
        if turn.lease is not None and not turn.offered:
            self._change(turn.ref, claims=turn.claims + 1, idle_claims=self._idle_claims(turn) + 1)

    def _idle_claims(self, turn: Turn) -> int:
        return turn.idle_claims if self._claimed_at.get(turn.ref) == turn.last_seq else 0

    async def offer(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """See `TurnStore.offer`."""
        return self._lease_refusal(ref, lease) or self._changed(ref, offered=True)

    async def release(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """See `TurnStore.release`."""
        turn = self._state.turns.get(ref)
        if turn is not None and turn.status not in FINAL and turn.lease is None and self._released.get(ref) == lease:
            return self._result(WriteStatus.DUPLICATE, ref)
        refusal = self._lease_refusal(ref, lease)
        if refusal is None:
            self._released[ref] = lease
        return refusal or self._changed(ref, lease=None, offered=False)

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """See `TurnStore.cancel`."""
        turn = self._state.turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._result(WriteStatus.FINISHED, ref)
        return self._changed(ref, stop=True)

    def _lease_refusal(self, ref: TurnRef, lease: Lease) -> WriteResult | None:
        turn = self._state.turns.get(ref)
        if turn is None or turn.status in FINAL:
            return self._result(WriteStatus.FINISHED, ref)
        return self._result(WriteStatus.FENCED, ref) if turn.lease != lease else None

    def _changed(self, ref: TurnRef, **changes: object) -> WriteResult:
        self._change(ref, **changes)
        return self._result(WriteStatus.OK, ref)

    async def finish(self, ending: Ending) -> WriteResult:
        """See `TurnStore.finish`."""
        ref = ending.append.ref
        result = self._append(ending.append, ending.status)
        if result.status is not WriteStatus.OK:
            return result
        self._ended[ref] = (ending.append.lease, ending.append.last_seq)
        self._change(ref, status=ending.status, lease=None, offered=False)
        self._state.keep_response(ending, self._state.turns[ref])
        self._state.release_segments(self._state.parents[ref], ref.caller)
        return self._result(WriteStatus.OK, ref)

    async def report_viewer(self, ref: TurnRef) -> None:
        """See `TurnStore.report_viewer`."""
        if self._state.is_unfinished(ref):
            self._change(ref, viewer_reports=self._state.turns[ref].viewer_reports + 1)

    async def delete(self, ref: TurnRef) -> bool:
        """See `TurnStore.delete`."""
        if ref not in self._state.turns:
            return False
        state, parent = self._state, self._state.parents[ref]
        for table in (state.turns, state.logs, state.parents, state.inputs, self._ended, self._fences):
            table.pop(ref, None)
        for (caller, key), (id, _) in list(self._idempotent.items()):
            if TurnRef(caller, id) == ref:
                del self._idempotent[caller, key]
        state.forget_response(ref)
        state.release_segments(parent, ref.caller)
        self._tombstones.add(ref)
        return True

    async def withdraw(self, ref: TurnRef) -> None:
        """See `TurnStore.withdraw`."""
        await self.delete(ref)
        self._tombstones.add(ref)

    async def turn(self, ref: TurnRef) -> Turn | None:
        """See `TurnStore.turn`."""
        turn = self._state.turns.get(ref)
        return None if turn is None else msgspec.structs.replace(turn, idle_claims=self._idle_claims(turn))

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        """See `TurnStore.read`."""
        turn = self._state.turns.get(ref)
        if turn is None:
            return LogPage((), None)
        return LogPage(self._entries_above(ref, after)[:limit], turn.status, turn.last_seq)

    def _entries_above(self, ref: TurnRef, after: int) -> tuple[LogEntry, ...]:
        return tuple(entry for entry in self._state.logs.get(ref, ()) if entry.last_seq > after)

    async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
        """See `TurnStore.follow`."""
        found = self._grown(after)
        if not found:
            partition = self.partition(next(iter(after)).caller)
            grown = self._grown_events.setdefault(partition, asyncio.Event())
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await grown.wait()
            except TimeoutError:
                return {}
            found = self._grown(after)
        return found

    def _grown(self, after: dict[TurnRef, int]) -> dict[TurnRef, tuple[LogEntry, ...]]:
        return {ref: entries for ref, seq in after.items() if (entries := self._entries_above(ref, seq))}

    async def wake(self, partition: int) -> None:
        """See `TurnStore.wake`."""
        self._grown_events.pop(partition, asyncio.Event()).set()

    async def unfinished_turns(self, partition: int) -> list[Turn]:
        """See `TurnStore.unfinished_turns`."""
        return [
            msgspec.structs.replace(turn, record={}, idle_claims=self._idle_claims(turn))
            for ref, turn in self._state.turns.items()
            if turn.status not in FINAL and self.partition(ref.caller) == partition
        ]
