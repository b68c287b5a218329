"""The contract of every store: responses, history and conversations."""

import pytest

from server.protocol.status import Status
from server.store.contracts import Store
from server.store.errors import Locked, Missing, Moved
from server.store.redis.scripts import MAX_HISTORY_DEPTH
from server.store.redis.store import RedisStore
from server.store.types import Checkpoint, Conversation, StoredResponse
from tests.server.store.make import ALICE, BOB, ending, item, jsons, new, ref


async def turn(store: Store, id: str, parent: Checkpoint | None = None, **changes: object) -> Checkpoint | None:
    """Run a whole turn, and give its checkpoint: one input item `<id>?`, one output item `<id>!`."""
    await store.create(new(id, parent=parent, input=(item(f"{id}?"),), **changes))
    await store.finish(ending(id, 1, f"{id}!"))
    stored = await store.response(ref(id))
    assert stored is not None
    return stored.checkpoint


async def read_history(store: Store, checkpoint: Checkpoint | None, caller: str = ALICE) -> list[bytes] | None:
    assert checkpoint is not None
    return await store.history(caller, checkpoint)


async def add_conversation(store: Store, id: str = "conv_1", *items: str, at: int = 1, caller: str = ALICE) -> None:
    await store.create_conversation(caller, Conversation(id, at, {"k": "v"}), [item(name) for name in items])


# -- chains ------------------------------------------------------------------------------------------------------


async def test_first_turn_of_a_chain(store: Store) -> None:
    checkpoint = await turn(store, "a")
    assert await store.response(ref("a")) == StoredResponse(b"{}", Status.COMPLETED, checkpoint, 0, 0)
    assert await read_history(store, checkpoint) == jsons("a?", "a!")


async def test_chain_at_its_tip_shares_one_segment(store: Store) -> None:
    checkpoints = [await turn(store, "a")]
    for id in "bcd":
        checkpoints.append(await turn(store, id, checkpoints[-1]))
    assert {checkpoint.segment for checkpoint in checkpoints if checkpoint} == {"a"}
    assert await read_history(store, checkpoints[-1]) == jsons("a?", "a!", "b?", "b!", "c?", "c!", "d?", "d!")
    assert await read_history(store, checkpoints[1]) == jsons("a?", "a!", "b?", "b!")
    assert await store.input_items(ref("c")) == jsons("c?")


async def test_fork_below_the_tip_does_not_see_what_came_after_it(store: Store) -> None:
    a = await turn(store, "a")
    b = await turn(store, "b", a)
    other = await turn(store, "c", a)
    further = await turn(store, "d", other)
    assert await read_history(store, further) == jsons("a?", "a!", "c?", "c!", "d?", "d!")
    assert await read_history(store, b) == jsons("a?", "a!", "b?", "b!")
    assert await store.input_items(ref("c")) == jsons("c?")


async def test_two_turns_from_one_place_at_the_same_time_fork(store: Store) -> None:
    a = await turn(store, "a")
    for id in "bc":
        await store.create(new(id, parent=a, input=(item(f"{id}?"),)))
    for id in "bc":
        await store.finish(ending(id, 1, f"{id}!"))
    for id in "bc":
        stored = await store.response(ref(id))
        assert stored is not None
        assert await read_history(store, stored.checkpoint) == jsons("a?", "a!", f"{id}?", f"{id}!")


async def test_forks_of_forks_stay_readable_in_one_call(store: Store) -> None:
    checkpoint, said = await turn(store, "t0"), ["t0?", "t0!"]
    for n in range(1, 3 * MAX_HISTORY_DEPTH):
        await turn(store, f"other{n}", checkpoint)
        checkpoint = await turn(store, f"t{n}", checkpoint)
        said += [f"t{n}?", f"t{n}!"]
        assert await read_history(store, checkpoint) == jsons(*said)


async def test_fork_depth_is_bounded(redis: RedisStore) -> None:
    checkpoint = await turn(redis, "t0")
    for n in range(1, 2 * MAX_HISTORY_DEPTH + 2):
        await turn(redis, f"other{n}", checkpoint)
        checkpoint = await turn(redis, f"t{n}", checkpoint)
        depth = await redis._client.call("HGET", redis._keys.segment(ALICE, f"t{n}"), "depth")
        assert int(depth) <= MAX_HISTORY_DEPTH


async def test_turn_without_items_ends_where_its_parent_ended(store: Store) -> None:
    a = await turn(store, "a")
    await store.create(new("b", parent=a))
    await store.finish(ending("b"))
    stored = await store.response(ref("b"))
    assert stored is not None
    assert await read_history(store, stored.checkpoint) == jsons("a?", "a!")
    assert await store.input_items(ref("b")) == []


async def test_first_turn_without_items(store: Store) -> None:
    await store.create(new("a"))
    await store.finish(ending("a"))
    stored = await store.response(ref("a"))
    assert stored is not None
    assert await read_history(store, stored.checkpoint) == []
    assert await read_history(store, await turn(store, "b", stored.checkpoint)) == jsons("b?", "b!")


async def test_unkept_turn_leaves_no_history(store: Store) -> None:
    a = await turn(store, "a")
    assert await turn(store, "b", a, kept=False) is None
    assert await read_history(store, a) == jsons("a?", "a!")
    assert await turn(store, "c", a) == Checkpoint("a", 3)


async def test_history_of_somebody_else_is_missing(store: Store) -> None:
    assert await read_history(store, await turn(store, "a"), BOB) is None


async def test_history_that_never_was_is_missing(store: Store) -> None:
    assert await store.history(ALICE, Checkpoint("nobody", 0)) is None
    await turn(store, "a")
    assert await store.history(ALICE, Checkpoint("a", 2)) is None


async def test_deleting_a_response_keeps_the_chain_that_continues_it(store: Store) -> None:
    a = await turn(store, "a")
    b = await turn(store, "b", a)
    await store.delete(ref("a"))
    assert await store.response(ref("a")) is None
    assert await read_history(store, b) == jsons("a?", "a!", "b?", "b!")


async def test_items_are_deleted_with_the_last_response_that_uses_them(store: Store) -> None:
    a = await turn(store, "a")
    b = await turn(store, "b", a)
    c = await turn(store, "c", a)
    await store.delete(ref("a"))
    await store.delete(ref("b"))
    assert await read_history(store, c) == jsons("a?", "a!", "c?", "c!")
    await store.delete(ref("c"))
    for checkpoint in (a, b, c):
        assert await read_history(store, checkpoint) is None


async def test_continuing_what_is_not_there_is_missing_not_shorter(store: Store) -> None:
    b = await turn(store, "b", Checkpoint("nobody", 0))
    assert await read_history(store, b) is None
    assert await store.input_items(ref("b")) == jsons("b?")


async def test_running_turn_keeps_what_it_continues(store: Store) -> None:
    a = await turn(store, "a")
    await store.create(new("b", parent=a, input=(item("b?"),)))
    await store.delete(ref("a"))
    assert await read_history(store, a) == jsons("a?", "a!")
    await store.finish(ending("b", 1, "b!"))
    stored = await store.response(ref("b"))
    assert stored is not None
    assert await read_history(store, stored.checkpoint) == jsons("a?", "a!", "b?", "b!")
    assert await store.input_items(ref("b")) == jsons("b?")
    await store.delete(ref("b"))
    assert await read_history(store, a) is None


async def test_items_that_only_a_fork_uses_stay_with_it(store: Store) -> None:
    a = await turn(store, "a")
    await store.create(new("c", parent=a, input=(item("c?"),)))
    b = await turn(store, "b", a)
    for id in "ab":
        await store.delete(ref(id))
    await store.finish(ending("c", 1, "c!"))
    stored = await store.response(ref("c"))
    assert stored is not None
    assert await read_history(store, stored.checkpoint) == jsons("a?", "a!", "c?", "c!")
    await store.delete(ref("c"))
    for checkpoint in (a, b):
        assert await read_history(store, checkpoint) is None


async def test_unkept_turn_releases_what_it_continues_at_its_end(store: Store) -> None:
    a = await turn(store, "a")
    await store.create(new("b", parent=a, kept=False, input=(item("b?"),)))
    await store.delete(ref("a"))
    assert await read_history(store, a) == jsons("a?", "a!")
    await store.finish(ending("b", 1, "b!"))
    assert await read_history(store, a) is None


async def test_deleted_turn_releases_what_it_continues(store: Store) -> None:
    a = await turn(store, "a")
    await store.create(new("b", parent=a))
    await store.delete(ref("b"))
    assert await read_history(store, a) == jsons("a?", "a!")
    await store.delete(ref("a"))
    assert await read_history(store, a) is None


async def test_turn_that_is_admitted_twice_counts_as_one_user(store: Store) -> None:
    a = await turn(store, "a")
    for _ in range(2):
        await store.create(new("b", parent=a))
    for _ in range(2):
        await store.finish(ending("b"))
    for id in "ab":
        await store.delete(ref(id))
    assert await read_history(store, a) is None


# -- conversations -----------------------------------------------------------------------------------------------


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
    ):
        with pytest.raises(Locked):
            await attempt
    await store.finish(ending("a"))
    await store.create(new("b", conversation="conv_1"))
    assert await store.conversation_end(ALICE, "conv_1") == Checkpoint("conv_1", 0)


async def test_turn_whose_prompt_is_behind_the_conversation_is_not_admitted(store: Store) -> None:
    await add_conversation(store, "conv_1", "x")
    end = await store.conversation_end(ALICE, "conv_1")
    await turn(store, "a", conversation="conv_1")
    with pytest.raises(Moved):
        await store.create(new("b", conversation="conv_1", parent=end))
    assert await store.turn(ref("b")) is None
    assert await turn(store, "b", await store.conversation_end(ALICE, "conv_1"), conversation="conv_1") is not None


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
    checkpoint = await turn(store, "a", conversation="conv_1")
    forked = await turn(store, "b", checkpoint)
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
