"""What was said before a turn: all items of its prompt but its own input, in one read however long the chat is."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from engine.offload import offloaded
from server.protocol.connection import Remembered
from server.protocol.errors import not_found, previous_not_found
from server.protocol.request import Request
from server.store.contracts import HistoryStore
from server.store.types import Checkpoint, TurnRef


class History(msgspec.Struct, frozen=True):
    """All items before a turn's own input. `parent` is where they are kept; None: only a connection knows them."""

    items: tuple[dict[str, Any], ...] = ()
    parent: Checkpoint | None = None
    size: int = 0  # bytes of all items as JSON


async def load_history(store: HistoryStore, caller: str, request: Request, remembered: Remembered | None) -> History:
    """Everything that `request` continues. Raises WireError when it is not there."""
    if remembered is not None:
        size = len(remembered.packed)
        return History(await offloaded(size, read_items, remembered.packed), size=size)
    if request.conversation_id is not None:
        return await _conversation(store, caller, request.conversation_id)
    if request.previous_response_id is not None:
        return await _previous(store, TurnRef(caller, request.previous_response_id))
    return History()


async def _conversation(store: HistoryStore, caller: str, id: str) -> History:
    end = await store.conversation_end(caller, id)
    if end is None:
        raise not_found("conversation", id)
    return await _read(store, caller, end) or History(parent=end)


async def _previous(store: HistoryStore, ref: TurnRef) -> History:
    stored = await store.response(ref)
    if stored is None or stored.checkpoint is None:
        raise previous_not_found(ref.id)
    history = await _read(store, ref.caller, stored.checkpoint)
    if history is None:
        raise previous_not_found(ref.id)
    return history


async def _read(store: HistoryStore, caller: str, checkpoint: Checkpoint) -> History | None:
    raw = await store.history(caller, checkpoint)
    if raw is None:
        return None
    size = sum(map(len, raw))
    return History(await offloaded(size, read_each, raw), checkpoint, size)


def read_items(packed: bytes) -> tuple[dict[str, Any], ...]:
    """A JSON list of items."""
    return tuple(orjson.loads(packed))


def read_each(raw: Sequence[bytes]) -> tuple[dict[str, Any], ...]:
    """Items that are JSON each by itself."""
    return read_items(b"[%b]" % b",".join(raw))
