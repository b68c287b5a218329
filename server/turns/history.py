"""What was said before a turn: all items of its prompt but its own input. An ordinary chat is one read however many
turns it has; of a large one the size comes first, and the items once there is room for them.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from engine.offload import offloaded
from server.protocol.connection import Remembered
from server.protocol.errors import not_found, previous_not_found, too_long
from server.protocol.request import Request
from server.store.contracts import HistoryStore
from server.store.types import Checkpoint, Oversized, TurnRef
from server.turns.preparation import Preparation


class History(msgspec.Struct, frozen=True):
    """All items before a turn's own input. `parent` is where they are kept; None: only a connection knows them."""

    items: tuple[dict[str, Any], ...] = ()
    parent: Checkpoint | None = None
    size: int = 0  # bytes of all items as JSON


class HistoryReader:
    """Loads what the requests of one caller continue, each within the room that it has."""

    def __init__(self, store: HistoryStore, caller: str, preparation: Preparation) -> None:
        self._store = store
        self._caller = caller
        self._preparation = preparation

    async def load(self, request: Request, remembered: Remembered | None, *, unlocked: bool) -> History:
        """Everything that `request` continues, once there is room for it.

        Raises WireError when it is not there, is longer than whatever is loaded, or waited in vain for room; with
        `unlocked` Locked, before anything is loaded, where a turn runs in the conversation.
        """
        if remembered is not None:
            size = len(remembered.packed)
            await self._preparation.enter(size)
            return History(await offloaded(size, read_items, remembered.packed), size=size)
        if request.conversation_id is not None:
            return await self._conversation(request.conversation_id, unlocked=unlocked)
        if request.previous_response_id is not None:
            return await self._previous(request.previous_response_id)
        await self._preparation.enter(0)
        return History()

    async def _conversation(self, id: str, *, unlocked: bool) -> History:
        end = await self._store.conversation_end(self._caller, id, unlocked=unlocked)
        if end is None:
            raise not_found("conversation", id)
        return await self._read(end) or History(parent=end)

    async def _previous(self, id: str) -> History:
        end = await self._store.response_end(TurnRef(self._caller, id))
        history = None if end is None else await self._read(end)
        if history is None:
            raise previous_not_found(id)
        return history

    async def _read(self, end: Checkpoint) -> History | None:
        raw = await read_within(self._store, self._caller, end, self._preparation)
        if raw is None:
            return None
        size = sum(map(len, raw))
        return History(await offloaded(size, read_each, raw), end, size)


async def read_within(
    store: HistoryStore, caller: str, end: Checkpoint, preparation: Preparation
) -> Sequence[bytes] | None:
    """All items up to a checkpoint, for which there is room then. A small history is read in one call.

    Raises WireError for a history that is longer than whatever is loaded, or that waited in vain for room.
    """
    most = max(preparation.small_bytes, 0)
    await preparation.enter(most)
    raw = await store.history(caller, end, most, preparation.longest)
    if isinstance(raw, Oversized):
        if raw.size > preparation.longest:
            raise too_long(f"what it continues has more than {preparation.longest} bytes")
        await preparation.enter(raw.size)
        raw = await store.history(caller, end)
        assert not isinstance(raw, Oversized)
    elif raw is not None:
        await preparation.enter(sum(map(len, raw)))
    return raw


def read_items(packed: bytes) -> tuple[dict[str, Any], ...]:
    """A JSON list of items."""
    return tuple(orjson.loads(packed))


def read_each(raw: Sequence[bytes]) -> tuple[dict[str, Any], ...]:
    """Items that are JSON each by itself."""
    return read_items(b"[%b]" % b",".join(raw))
