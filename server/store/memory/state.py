"""The tables that the four contracts share in memory: turns, and the segments that they continue."""

from collections.abc import Sequence

import msgspec

from server.protocol.status import FINAL
from server.store.redis.keys import Keys
from server.store.types import Checkpoint, Conversation, Ending, Item, LogEntry, StoredResponse, Turn, TurnRef

SegmentKey = tuple[str, str]  # caller, id of a segment or conversation


class MemoryState(msgspec.Struct):
    """The tables that more than one contract reads. A conversation is a segment with a name."""

    keys: Keys  # for the partitions, which are those of Redis
    turns: dict[TurnRef, Turn] = {}
    logs: dict[TurnRef, list[LogEntry]] = {}
    # What a turn continues, and the items that came with it.
    parents: dict[TurnRef, Checkpoint | None] = {}
    inputs: dict[TurnRef, tuple[Item, ...]] = {}
    # First and last position of a turn's input in its segment.
    input_positions: dict[TurnRef, tuple[int, int]] = {}
    responses: dict[TurnRef, StoredResponse] = {}
    # Items by position; None was deleted.
    segments: dict[SegmentKey, list[Item | None]] = {}
    # What a segment that is not the first of its chain continues.
    forks: dict[SegmentKey, Checkpoint] = {}
    conversations: dict[SegmentKey, Conversation] = {}
    # Digest of the request that made a conversation; empty where it came without an idempotency key.
    fingerprints: dict[SegmentKey, str] = {}

    def is_unfinished(self, ref: TurnRef) -> bool:
        """Whether a turn is there and has no terminal event."""
        return ref in self.turns and self.turns[ref].status not in FINAL

    def running_turn(self, caller: str, conversation: Conversation) -> str | None:
        """The id of the turn that locks a conversation. A lock whose turn is gone does not count."""
        id = conversation.active
        return id if id is not None and self.is_unfinished(TurnRef(caller, id)) else None

    def push(self, key: SegmentKey, items: Sequence[Item]) -> tuple[int, int]:
        """Append items to a segment; the positions of the first and the last one."""
        segment = self.segments.setdefault(key, [])
        first = len(segment)
        segment.extend(items)
        return first, len(segment) - 1

    def items_up_to(self, caller: str, checkpoint: Checkpoint) -> list[Item] | None:
        """All items of a history. None when any of it is gone."""
        key = (caller, checkpoint.segment)
        items = self.segments.get(key)
        if items is None or len(items) <= checkpoint.position:
            return None
        own = [item for item in items[: checkpoint.position + 1] if item is not None]
        if key not in self.forks:
            return own
        before = self.items_up_to(caller, self.forks[key])
        return None if before is None else before + own

    def keep_response(self, ending: Ending, turn: Turn) -> None:
        """Store what a turn that has ended leaves, and append its items to its chain or conversation."""
        ref, key = turn.ref, None
        if turn.conversation is not None:
            key = (ref.caller, turn.conversation)
        elif turn.kept:
            key = self._segment_of(ref)
            self.input_positions[ref] = self.push(key, self.inputs[ref])
        if key is None or (turn.conversation is not None and key not in self.conversations):
            self.responses[ref] = StoredResponse(ending.response, ending.status, None)
            return
        checkpoint = Checkpoint(key[1], self.push(key, ending.output)[1])
        self.responses[ref] = StoredResponse(ending.response, ending.status, checkpoint, *self.input_positions[ref])

    def _segment_of(self, ref: TurnRef) -> SegmentKey:
        """The segment that takes a chain's new items: the parent's own at its end, else a new one."""
        parent, own_key = self.parents[ref], (ref.caller, ref.id)
        if parent is None:
            self.segments[own_key] = []
            return own_key
        parent_key = (ref.caller, parent.segment)
        ends_there = parent_key in self.segments and len(self.segments[parent_key]) - 1 == parent.position
        if ends_there and parent_key not in self.conversations:
            return parent_key
        copied = self.items_up_to(ref.caller, parent) if parent_key in self.conversations else None
        self.segments[own_key] = list(copied or ())
        if copied is None:
            self.forks[own_key] = parent
        return own_key

    def forget_response(self, ref: TurnRef) -> None:
        """Delete a response, and the items that only it used."""
        stored = self.responses.pop(ref, None)
        self.input_positions.pop(ref, None)
        self.release_segments(stored.checkpoint if stored else None, ref.caller)

    def release_segments(self, checkpoint: Checkpoint | None, caller: str) -> None:
        """Delete a segment, and those that it continues, if no response, segment or running turn uses them."""
        while checkpoint is not None:
            key = (caller, checkpoint.segment)
            if key not in self.segments or key in self.conversations or self._is_used(key):
                return
            del self.segments[key]
            checkpoint = self.forks.pop(key, None)

    def _is_used(self, key: SegmentKey) -> bool:
        responses = ((ref.caller, s.checkpoint.segment) for ref, s in self.responses.items() if s.checkpoint)
        forks = ((caller, parent.segment) for (caller, _), parent in self.forks.items())
        running = ((ref.caller, end.segment) for ref, end in self.parents.items() if end and self.is_unfinished(ref))
        return key in responses or key in forks or key in running


class MemoryPart:
    """The base of the classes that keep one contract each. One object may keep several of them, on one state."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    @property
    def partitions(self) -> int:
        """See `TurnStore.partitions`."""
        return self._state.keys.partitions

    def partition(self, caller: str) -> int:
        """See `TurnStore.partition`."""
        return self._state.keys.partition(caller)
