"""Responses, history and conversations without Redis."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from server.protocol.status import FINAL
from server.store.errors import Locked, Missing
from server.store.redis.keys import Keys
from server.store.types import (
    Checkpoint,
    Conversation,
    Ending,
    Item,
    Lease,
    LogEntry,
    Page,
    StoredResponse,
    Turn,
    TurnRef,
)

Place = tuple[str, str]  # caller, segment or conversation


class MemoryHistory:
    """What is left of a turn when it has ended, and the state that both halves share."""

    def __init__(self, partitions: int) -> None:
        self._keys = Keys(partitions)
        self.partitions = partitions
        self._turns: dict[TurnRef, Turn] = {}
        self._logs: dict[TurnRef, list[LogEntry]] = {}
        # The highest fence that was ever given out.
        self._fences: dict[TurnRef, int] = {}
        # The number at which the last claim found the log.
        self._claimed_at: dict[TurnRef, int] = {}
        # Who gave a turn back last, and who ended it at which number: how repeats are recognised.
        self._released: dict[TurnRef, Lease] = {}
        self._ended: dict[TurnRef, tuple[Lease, int]] = {}
        self._parents: dict[TurnRef, Checkpoint | None] = {}
        self._inputs: dict[TurnRef, tuple[Item, ...]] = {}
        # First and last position of a turn's input in its segment.
        self._own: dict[TurnRef, tuple[int, int]] = {}
        self._stored: dict[TurnRef, StoredResponse] = {}
        # Items by position; None was dropped.
        self._segments: dict[Place, list[Item | None]] = {}
        self._forks: dict[Place, Checkpoint] = {}
        self._conversations: dict[Place, Conversation] = {}
        self._tickets: dict[str, tuple[str, float]] = {}

    def partition(self, caller: str) -> int:
        """Where everything of this caller lies."""
        return self._keys.partition(caller)

    def _push(self, place: Place, items: Sequence[Item]) -> tuple[int, int]:
        segment = self._segments.setdefault(place, [])
        first = len(segment)
        segment.extend(items)
        return first, len(segment) - 1

    def _active(self, caller: str, id: str | None) -> str | None:
        turn = None if id is None else self._turns.get(TurnRef(caller, id))
        return None if turn is None or turn.status in FINAL else id

    def _store(self, ending: Ending, turn: Turn) -> None:
        ref, place = turn.ref, None
        if turn.conversation is not None:
            place = (ref.caller, turn.conversation)
        elif turn.kept:
            place = self._segment(ref)
            self._own[ref] = self._push(place, self._inputs[ref])
        if place is None or (turn.conversation is not None and place not in self._conversations):
            self._stored[ref] = StoredResponse(ending.response, ending.status, None)
            return
        at = self._push(place, ending.output)[1]
        self._stored[ref] = StoredResponse(ending.response, ending.status, Checkpoint(place[1], at), *self._own[ref])

    def _segment(self, ref: TurnRef) -> Place:
        parent, mine = self._parents[ref], (ref.caller, ref.id)
        if parent is None:
            self._segments[mine] = []
            return mine
        theirs = (ref.caller, parent.segment)
        tip = theirs in self._segments and len(self._segments[theirs]) - 1 == parent.position
        if tip and theirs not in self._conversations:
            return theirs
        flat = self._items(ref.caller, parent) if theirs in self._conversations else None
        self._segments[mine] = list(flat or ())
        if flat is None:
            self._forks[mine] = parent
        return mine

    def _items(self, caller: str, checkpoint: Checkpoint) -> list[Item] | None:
        place = (caller, checkpoint.segment)
        items = self._segments.get(place)
        if items is None or len(items) <= checkpoint.position:
            return None
        own = [item for item in items[: checkpoint.position + 1] if item is not None]
        if place not in self._forks:
            return own
        before = self._items(caller, self._forks[place])
        return None if before is None else before + own

    def _forget(self, ref: TurnRef) -> None:
        stored = self._stored.pop(ref, None)
        self._own.pop(ref, None)
        self._leave(stored.checkpoint if stored else None, ref.caller)

    def _leave(self, checkpoint: Checkpoint | None, caller: str) -> None:
        """Items go with the last response, segment or running turn that needs them."""
        while checkpoint is not None:
            place = (caller, checkpoint.segment)
            if place not in self._segments or place in self._conversations or self._leaning(place):
                return
            del self._segments[place]
            checkpoint = self._forks.pop(place, None)

    def _leaning(self, place: Place) -> bool:
        responses = ((ref.caller, s.checkpoint.segment) for ref, s in self._stored.items() if s.checkpoint)
        forks = ((caller, parent.segment) for (caller, _), parent in self._forks.items())
        running = ((ref.caller, at.segment) for ref, at in self._parents.items() if at and self._is_open(ref))
        return place in responses or place in forks or place in running

    def _is_open(self, ref: TurnRef) -> bool:
        return ref in self._turns and self._turns[ref].status not in FINAL

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """A finished response."""
        return self._stored.get(ref)

    async def history(self, caller: str, checkpoint: Checkpoint) -> list[bytes] | None:
        """All items up to a checkpoint."""
        items = self._items(caller, checkpoint)
        return None if items is None else [item.json for item in items]

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """The input items that came with a turn."""
        turn = self._turns.get(ref)
        if turn is None:
            return None
        if turn.conversation is None:
            return [item.json for item in self._inputs[ref]]
        first, last = self._own[ref]
        items = self._segments.get((ref.caller, turn.conversation), [])
        return [item.json for item in items[first : last + 1] if item is not None]

    # -- conversations -------------------------------------------------------------------------------------------

    async def create_conversation(self, caller: str, conversation: Conversation, items: Sequence[Item]) -> None:
        """Create one."""
        place = (caller, conversation.id)
        if place not in self._conversations:
            self._conversations[place] = conversation
            self._push(place, items)

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """Read one."""
        found = self._conversations.get((caller, id))
        if found is None:
            return None
        return msgspec.structs.replace(found, active=self._active(caller, found.active))

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """Newest first."""
        mine = [found for (owner, _), found in self._conversations.items() if owner == caller]
        mine.sort(key=lambda found: (found.created_at, found.id), reverse=True)
        start = 0
        if after is not None:
            self._existing(caller, after)
            start = next(n + 1 for n, found in enumerate(mine) if found.id == after)
        page = [await self.conversation(caller, found.id) for found in mine[start : start + limit]]
        return Page(tuple(page), len(mine) > start + limit)

    def _existing(self, caller: str, id: str) -> Conversation:
        found = self._conversations.get((caller, id))
        if found is None:
            raise Missing("conversation", id)
        return found

    def _unlocked(self, caller: str, id: str) -> list[Item | None]:
        active = self._active(caller, self._existing(caller, id).active)
        if active is not None:
            raise Locked(id, active)
        return self._segments[caller, id]

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """Replace the metadata."""
        self._conversations[caller, id] = msgspec.structs.replace(self._existing(caller, id), metadata=metadata)
        found = self._conversations[caller, id]
        return msgspec.structs.replace(found, active=self._active(caller, found.active))

    async def delete_conversation(self, caller: str, id: str) -> bool:
        """Delete it with its items."""
        if (caller, id) not in self._conversations:
            return False
        self._unlocked(caller, id)
        del self._conversations[caller, id], self._segments[caller, id]
        return True

    async def conversation_end(self, caller: str, conversation: str) -> Checkpoint | None:
        """The checkpoint of everything said so far."""
        place = (caller, conversation)
        if place not in self._conversations:
            return None
        return Checkpoint(conversation, len(self._segments[place]) - 1)

    async def add_items(self, caller: str, conversation: str, items: Sequence[Item]) -> None:
        """Append those that are not there."""
        present = {item.id for item in self._unlocked(caller, conversation) if item is not None}
        self._push((caller, conversation), [item for item in items if item.id not in present])

    async def items(self, caller: str, conversation: str, after: str | None, limit: int, *, newest: bool) -> Page:
        """Page through items."""
        self._existing(caller, conversation)
        items = [item for item in self._segments[caller, conversation] if item is not None]
        if newest:
            items.reverse()
        start = 0
        if after is not None:
            start = next((n + 1 for n, item in enumerate(items) if item.id == after), 0)
            if start == 0:
                raise Missing("item", after)
        page: tuple[Any, ...] = tuple(item.json for item in items[start : start + limit])
        return Page(page, len(items) > start + limit)

    async def item(self, caller: str, conversation: str, id: str) -> bytes | None:
        """One item."""
        items = self._segments.get((caller, conversation), ())
        return next((item.json for item in items if item is not None and item.id == id), None)

    async def delete_item(self, caller: str, conversation: str, id: str) -> bool:
        """Take one item out."""
        items = self._unlocked(caller, conversation)
        for position, item in enumerate(items):
            if item is not None and item.id == id:
                items[position] = None
                return True
        return False

    # -- tickets -------------------------------------------------------------------------------------------------

    async def put_ticket(self, ticket: str, caller: str, seconds: int) -> None:
        """Keep a single-use ticket."""
        self._tickets[ticket] = (caller, time.monotonic() + seconds)

    async def take_ticket(self, ticket: str) -> str | None:
        """The caller it was made for, once."""
        caller, until = self._tickets.pop(ticket, ("", 0.0))
        return caller if time.monotonic() < until else None
