"""The contract of every history store: conversations and their items."""

import pytest

from server.protocol.status import Status
from server.store.contracts import Store
from server.store.errors import Locked, Missing, Moved
from server.store.types import Checkpoint, Conversation, StoredResponse
from tests.server.store.make import ALICE, BOB, add_conversation, ending, item, jsons, new, read_history, ref, run_turn


async def test_conversation_is_read_as_it_was_added(store: Store) -> None:
    await add_conversation(store, "conv_1", "x", "y")
    await add_conversation(store, "conv_1", "again")
    assert await store.conversation(ALICE, "conv_1") == Conversation("conv_1", 1, {"k": "v"})
    assert await store.conversation(BOB, "conv_1") is None
    assert await store.conversation(ALICE, "conv_2") is None
    assert await store.conversation_end(ALICE, "conv_1") == Checkpoint("conv_1", 1)
    assert await store.conversation_end(ALICE, "conv_2") is None
    assert await store.history(ALICE, Checkpoint("conv_1", 1)) == jsons("x", "y")


async def test_empty_conversation_has_an_end(store: Store) -> None:
    await add_conversation(store)
    assert await store.conversation_end(ALICE, "conv_1") == Checkpoint("conv_1", -1)
    assert await store.history(ALICE, Checkpoint("conv_1", -1)) == []


async def test_turn_in_a_conversation(store: Store) -> None:
    await add_conversation(store, "conv_1", "x")
    await store.create(new("a", conversation="conv_1", input=(item("a?"),)))
    found = await store.conversation(ALICE, "conv_1")
    assert found is not None
    assert found.active == "a"
    assert await store.history(ALICE, Checkpoint("conv_1", 1)) == jsons("x", "a?")
    assert await store.input_items(ref("a")) == jsons("a?")
    await store.finish(ending("a", 1, "a!"))
    found = await store.conversation(ALICE, "conv_1")
    assert found is not None
    assert found.active is None
    assert await store.response(ref("a")) == StoredResponse(b"{}", Status.COMPLETED, Checkpoint("conv_1", 2), 1, 1)
    assert await store.item(ALICE, "conv_1", "a!") == item("a!").json
    assert await store.input_items(ref("a")) == jsons("a?")


async def test_conversation_that_is_missing_admits_nothing(store: Store) -> None:
    with pytest.raises(Missing):
        await store.create(new(conversation="conv_1"))
    assert await store.turn(ref()) is None


async def test_conversation_that_grew_since_it_was_read(store: Store) -> None:
    """A turn whose prompt continues an earlier end is not admitted, and changes nothing."""
    await add_conversation(store, "conv_1", "x")
    stale = await store.conversation_end(ALICE, "conv_1")
    await store.add_items(ALICE, "conv_1", [item("y")])
    with pytest.raises(Moved):
        await store.create(new("a", conversation="conv_1", parent=stale))
    assert await store.turn(ref("a")) is None
    await store.create(new("a", conversation="conv_1", parent=await store.conversation_end(ALICE, "conv_1")))


async def test_idempotency_key_names_its_turn_to_its_caller_only(store: Store) -> None:
    await store.create(new("a", idempotency_key="k", fingerprint="f"))
    assert await store.find_idempotent(ALICE, "k") == ("a", "f")
    assert await store.find_idempotent(BOB, "k") is None


async def test_one_turn_at_a_time_in_a_conversation(store: Store) -> None:
    await add_conversation(store, "conv_1", "x")
    await store.create(new("a", conversation="conv_1"))
    with pytest.raises(Locked) as caught:
        await store.create(new("b", conversation="conv_1", input=(item("b?"),)))
    assert (caught.value.conversation, caught.value.turn) == ("conv_1", "a")
    for attempt in (
        store.add_items(ALICE, "conv_1", [item("y")]),
        store.delete_item(ALICE, "conv_1", "x"),
        store.delete_conversation(ALICE, "conv_1"),
        store.conversation_end(ALICE, "conv_1", unlocked=True),
    ):
        with pytest.raises(Locked):
            await attempt
    assert await store.conversation_end(ALICE, "conv_1") == Checkpoint("conv_1", 0)
    await store.finish(ending("a"))
    assert await store.conversation_end(ALICE, "conv_1", unlocked=True) == Checkpoint("conv_1", 0)
    await store.create(new("b", conversation="conv_1"))
    assert await store.conversation_end(ALICE, "conv_1") == Checkpoint("conv_1", 0)


async def test_turn_whose_prompt_is_behind_the_conversation_is_not_admitted(store: Store) -> None:
    await add_conversation(store, "conv_1", "x")
    end = await store.conversation_end(ALICE, "conv_1")
    await run_turn(store, "a", conversation="conv_1")
    with pytest.raises(Moved):
        await store.create(new("b", conversation="conv_1", parent=end))
    assert await store.turn(ref("b")) is None
    assert await run_turn(store, "b", await store.conversation_end(ALICE, "conv_1"), conversation="conv_1") is not None


async def test_lock_of_a_turn_that_is_gone_does_not_block(store: Store) -> None:
    await add_conversation(store)
    await store.create(new("a", conversation="conv_1"))
    await store.delete(ref("a"))
    await store.create(new("b", conversation="conv_1"))
    found = await store.conversation(ALICE, "conv_1")
    assert found is not None
    assert found.active == "b"


async def test_continuing_a_response_of_a_conversation_does_not_write_into_it(store: Store) -> None:
    await add_conversation(store, "conv_1", "x")
    checkpoint = await run_turn(store, "a", conversation="conv_1")
    forked = await run_turn(store, "b", checkpoint)
    assert await read_history(store, forked) == jsons("x", "a?", "a!", "b?", "b!")
    assert await store.conversation_end(ALICE, "conv_1") == Checkpoint("conv_1", 2)
    assert await store.delete_conversation(ALICE, "conv_1")
    assert await read_history(store, forked) == jsons("x", "a?", "a!", "b?", "b!")
    assert await read_history(store, checkpoint) is None


async def test_conversations_newest_first(store: Store) -> None:
    for n in range(7):
        await add_conversation(store, f"conv_{n}", at=n)
    await add_conversation(store, "conv_x", caller=BOB)
    page = await store.conversations(ALICE, None, 3)
    assert ([c.id for c in page.data], page.more) == (["conv_6", "conv_5", "conv_4"], True)
    page = await store.conversations(ALICE, "conv_4", 4)
    assert ([c.id for c in page.data], page.more) == (["conv_3", "conv_2", "conv_1", "conv_0"], False)
    assert await store.delete_conversation(ALICE, "conv_5")
    page = await store.conversations(ALICE, "conv_6", 1)
    assert ([c.id for c in page.data], page.more) == (["conv_4"], True)
    with pytest.raises(Missing):
        await store.conversations(ALICE, "conv_5", 1)


async def test_metadata_is_replaced(store: Store) -> None:
    await add_conversation(store)
    changed = await store.set_metadata(ALICE, "conv_1", {"title": "ü"})
    assert changed.metadata == {"title": "ü"}
    assert await store.conversation(ALICE, "conv_1") == changed
    with pytest.raises(Missing):
        await store.set_metadata(BOB, "conv_1", {})


async def test_metadata_of_a_locked_conversation_answers_with_its_turn(store: Store) -> None:
    await add_conversation(store, at=7)
    await store.create(new("a", conversation="conv_1"))
    assert await store.set_metadata(ALICE, "conv_1", {"t": "x"}) == Conversation("conv_1", 7, {"t": "x"}, "a")
    await store.finish(ending("a"))
    assert await store.set_metadata(ALICE, "conv_1", {}) == Conversation("conv_1", 7, {}, None)


async def test_deleted_conversation_is_gone(store: Store) -> None:
    await add_conversation(store, "conv_1", "x")
    assert not await store.delete_conversation(BOB, "conv_1")
    assert await store.delete_conversation(ALICE, "conv_1")
    assert not await store.delete_conversation(ALICE, "conv_1")
    assert await store.item(ALICE, "conv_1", "x") is None
    assert (await store.conversations(ALICE, None, 9)).data == ()


async def test_items_in_pages(store: Store) -> None:
    names = [f"i{n}" for n in range(9)]
    await add_conversation(store, "conv_1", *names)
    for newest, order in ((False, names), (True, names[::-1])):
        page = await store.items(ALICE, "conv_1", None, 4, newest=newest)
        assert (page.data, page.more) == (tuple(jsons(*order[:4])), True)
        page = await store.items(ALICE, "conv_1", order[3], 5, newest=newest)
        assert (page.data, page.more) == (tuple(jsons(*order[4:])), False)
        page = await store.items(ALICE, "conv_1", order[8], 5, newest=newest)
        assert (page.data, page.more) == ((), False)


async def test_items_of_a_conversation_that_is_missing(store: Store) -> None:
    with pytest.raises(Missing) as caught:
        await store.items(ALICE, "conv_1", None, 4, newest=True)
    assert caught.value.kind == "conversation"
    await add_conversation(store)
    with pytest.raises(Missing) as caught:
        await store.items(ALICE, "conv_1", "x", 4, newest=True)
    assert (caught.value.kind, caught.value.id) == ("item", "x")
    with pytest.raises(Missing):
        await store.add_items(ALICE, "conv_2", [item("x")])
    with pytest.raises(Missing):
        await store.delete_item(ALICE, "conv_2", "x")


async def test_deleted_item_is_skipped_everywhere_and_positions_stay(store: Store) -> None:
    await add_conversation(store, "conv_1", "a", "b", "c", "d")
    before = await store.conversation_end(ALICE, "conv_1")
    assert await store.delete_item(ALICE, "conv_1", "b")
    assert not await store.delete_item(ALICE, "conv_1", "b")
    assert await store.item(ALICE, "conv_1", "b") is None
    assert await store.conversation_end(ALICE, "conv_1") == before
    assert await read_history(store, before) == jsons("a", "c", "d")
    page = await store.items(ALICE, "conv_1", "a", 1, newest=False)
    assert (page.data, page.more) == (tuple(jsons("c")), True)
    page = await store.items(ALICE, "conv_1", "c", 9, newest=True)
    assert (page.data, page.more) == (tuple(jsons("a")), False)


async def test_added_items_come_last_and_only_once(store: Store) -> None:
    await add_conversation(store, "conv_1", "a")
    await store.add_items(ALICE, "conv_1", [item("b"), item("c")])
    await store.add_items(ALICE, "conv_1", [item("b"), item("c")])
    assert (await store.items(ALICE, "conv_1", None, 9, newest=False)).data == tuple(jsons("a", "b", "c"))
