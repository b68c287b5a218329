"""Responses, history and conversations in memory."""

from collections.abc import Sequence

import msgspec

from server.store.contracts import ALL
from server.store.errors import Locked, Missing
from server.store.memory.state import MemoryPart
from server.store.types import Checkpoint, Conversation, Item, Oversized, Page, StoredResponse, TurnRef


class MemoryHistoryStore(MemoryPart):
    """Keeps the contract `HistoryStore`."""

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """See `HistoryStore.response`."""
        return self._state.responses.get(ref)

    async def response_end(self, ref: TurnRef) -> Checkpoint | None:
        """See `HistoryStore.response_end`."""
        stored = self._state.responses.get(ref)
        return None if stored is None else stored.checkpoint

    async def history(
        self, caller: str, checkpoint: Checkpoint, most: int = ALL, counted: int = ALL
    ) -> list[bytes] | Oversized | None:
        """See `HistoryStore.history`."""
        items = self._state.items_up_to(caller, checkpoint)
        if items is None:
            return None
        size = sum(len(item.json) for item in items)
        return [item.json for item in items] if size <= most else Oversized(size)

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """See `HistoryStore.input_items`."""
        turn = self._state.turns.get(ref)
        if turn is None:
            return None
        if turn.conversation is None:
            return [item.json for item in self._state.inputs[ref]]
        first, last = self._state.input_positions[ref]
        items = self._state.segments.get((ref.caller, turn.conversation), [])
        return [item.json for item in items[first : last + 1] if item is not None]

    # -- conversations -------------------------------------------------------------------------------------------

    async def create_conversation(self, caller: str, conversation: Conversation, items: Sequence[Item]) -> None:
        """See `HistoryStore.create_conversation`."""
        key = (caller, conversation.id)
        if key not in self._state.conversations:
            self._state.conversations[key] = conversation
            self._state.push(key, items)

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """See `HistoryStore.conversation`."""
        found = self._state.conversations.get((caller, id))
        return None if found is None else self._as_read(caller, found)

    def _as_read(self, caller: str, conversation: Conversation) -> Conversation:
        return msgspec.structs.replace(conversation, active=self._state.running_turn(caller, conversation))

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """See `HistoryStore.conversations`."""
        own = [found for (owner, _), found in self._state.conversations.items() if owner == caller]
        own.sort(key=lambda found: (found.created_at, found.id), reverse=True)
        start = 0
        if after is not None:
            self._existing(caller, after)
            start = next(n for n, found in enumerate(own, 1) if found.id == after)
        page = tuple(self._as_read(caller, found) for found in own[start : start + limit])
        return Page(page, len(own) > start + limit)

    def _existing(self, caller: str, id: str) -> Conversation:
        found = self._state.conversations.get((caller, id))
        if found is None:
            raise Missing("conversation", id)
        return found

    def _unlocked_items(self, caller: str, id: str) -> list[Item | None]:
        running = self._state.running_turn(caller, self._existing(caller, id))
        if running is not None:
            raise Locked(id, running)
        return self._state.segments[caller, id]

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """See `HistoryStore.set_metadata`."""
        changed = msgspec.structs.replace(self._existing(caller, id), metadata=metadata)
        self._state.conversations[caller, id] = changed
        return self._as_read(caller, changed)

    async def delete_conversation(self, caller: str, id: str) -> bool:
        """See `HistoryStore.delete_conversation`."""
        if (caller, id) not in self._state.conversations:
            return False
        self._unlocked_items(caller, id)
        del self._state.conversations[caller, id], self._state.segments[caller, id]
        return True

    async def conversation_end(self, caller: str, conversation: str, *, unlocked: bool = False) -> Checkpoint | None:
        """See `HistoryStore.conversation_end`."""
        key = (caller, conversation)
        if key not in self._state.conversations:
            return None
        if unlocked:
            self._unlocked_items(caller, conversation)
        return Checkpoint(conversation, len(self._state.segments[key]) - 1)

    # -- items of conversations ----------------------------------------------------------------------------------

    async def add_items(self, caller: str, conversation: str, items: Sequence[Item]) -> None:
        """See `HistoryStore.add_items`."""
        present = {item.id for item in self._unlocked_items(caller, conversation) if item is not None}
        self._state.push((caller, conversation), [item for item in items if item.id not in present])

    async def items(self, caller: str, conversation: str, after: str | None, limit: int, *, newest: bool) -> Page:
        """See `HistoryStore.items`."""
        self._existing(caller, conversation)
        items = [item for item in self._state.segments[caller, conversation] if item is not None]
        if newest:
            items.reverse()
        start = 0
        if after is not None:
            start = next((n for n, item in enumerate(items, 1) if item.id == after), 0)
            if start == 0:
                raise Missing("item", after)
        page = tuple(item.json for item in items[start : start + limit])
        return Page(page, len(items) > start + limit)

    async def item(self, caller: str, conversation: str, id: str) -> bytes | None:
        """See `HistoryStore.item`."""
        items = self._state.segments.get((caller, conversation), ())
        return next((item.json for item in items if item is not None and item.id == id), None)

    async def delete_item(self, caller: str, conversation: str, id: str) -> bool:
        """See `HistoryStore.delete_item`."""
        items = self._unlocked_items(caller, conversation)
        for position, item in enumerate(items):
            if item is not None and item.id == id:
                items[position] = None
                return True
        return False
