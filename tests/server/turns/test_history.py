"""What a turn continues, and when it is loaded."""

from typing import Any

import pytest

from server.protocol.connection import Remembered
from server.protocol.errors import WireError
from server.protocol.request import parse_request
from server.store.errors import Locked
from server.store.memory.store import MemoryStore
from server.store.types import Checkpoint, Conversation, Item, Oversized, StoredResponse, TurnRef
from server.turns.history import History, HistoryReader
from server.turns.preparation import SMALL_BYTES, Preparations
from tests.server.store.make import ALICE, item, new, run_turn

LONG = Item("msg_long", b'{"content":"%b"}' % (b"x" * SMALL_BYTES))


class WatchedStore(MemoryStore):
    """Notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[int | None] = []  # items of each history; None: only its size
        self.whole_responses = 0  # that were asked for

    async def history(self, *args: Any, **fields: Any) -> list[bytes] | Oversized | None:
        found = await super().history(*args, **fields)
        self.sent.append(None if not isinstance(found, list) else len(found))
        return found

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        self.whole_responses += 1
        return await super().response(ref)


async def load(store: MemoryStore, preparations: Preparations | None = None, **fields: Any) -> History:
    request = parse_request({"input": "Hi", **fields})
    async with (preparations or Preparations()).begin(ALICE) as preparation:
        return await HistoryReader(store, ALICE, preparation).load(request, None, unlocked=True)


async def conversation(store: MemoryStore, *items: Item) -> None:
    await store.create_conversation(ALICE, Conversation("conv_1", 0, {}), items)


async def test_a_small_history_is_one_read() -> None:
    store = WatchedStore()
    await run_turn(store, "a")
    store.whole_responses = 0
    history = await load(store, previous_response_id="a")
    assert (len(history.items), store.sent, store.whole_responses) == (2, [2], 0)


async def test_of_a_large_one_the_size_comes_first() -> None:
    store = WatchedStore()
    await conversation(store, item("a"), LONG)
    history = await load(store, conversation="conv_1")
    assert (len(history.items), store.sent) == (2, [None, 2])
    assert history.parent == Checkpoint("conv_1", 1)


async def test_a_large_one_waits_for_room_without_being_loaded() -> None:
    store = WatchedStore()
    await conversation(store, LONG)
    preparations = Preparations(patience=0.01)
    async with preparations.begin("bob") as one, preparations.begin("bob") as other:
        await one.enter(SMALL_BYTES + 1)
        await other.enter(SMALL_BYTES + 1)
        with pytest.raises(WireError, match="server_overloaded"):
            await load(store, preparations, conversation="conv_1")
    assert store.sent == [None]
    assert preparations.small.is_empty
    assert preparations.large.is_empty


async def test_one_that_no_node_would_prepare_is_never_loaded() -> None:
    store = WatchedStore()
    await conversation(store, LONG)
    with pytest.raises(WireError, match="context_length_exceeded"):
        await load(store, Preparations(8 * SMALL_BYTES), conversation="conv_1")
    assert store.sent == [None]


async def test_a_locked_conversation_is_not_loaded() -> None:
    store = WatchedStore()
    await conversation(store, item("a"))
    await store.create(new("t", conversation="conv_1", parent=Checkpoint("conv_1", 0)))
    with pytest.raises(Locked):
        await load(store, conversation="conv_1")
    assert store.sent == []


async def test_what_only_the_connection_knows_has_a_size_too() -> None:
    preparations = Preparations(patience=0.01)
    packed = b'[{"content":"%b"}]' % (b"x" * SMALL_BYTES)
    request = parse_request({"input": "Hi", "previous_response_id": "resp_1"})
    async with preparations.begin(ALICE) as preparation:
        reader = HistoryReader(MemoryStore(), ALICE, preparation)
        history = await reader.load(request, Remembered("resp_1", packed), unlocked=True)
        assert preparations.large.inside == 1
    assert history.size == len(packed)


@pytest.mark.parametrize("field", ["conversation", "previous_response_id"])
async def test_what_is_not_there(field: str) -> None:
    with pytest.raises(WireError, match="not found"):
        await load(MemoryStore(), None, **{field: "gone"})
