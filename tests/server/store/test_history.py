"""The contract of every history store: responses, and the chains that they make."""

from server.protocol.status import Status
from server.store.contracts import Store
from server.store.redis.scripts import MAX_HISTORY_DEPTH
from server.store.redis.store import RedisStore
from server.store.types import Checkpoint, Conversation, Item, Oversized, StoredResponse
from tests.server.store.make import ALICE, BOB, ending, item, jsons, new, read_history, ref, run_turn


async def test_first_turn_of_a_chain(store: Store) -> None:
    checkpoint = await run_turn(store, "a")
    assert await store.response(ref("a")) == StoredResponse(b"{}", Status.COMPLETED, checkpoint, 0, 0)
    assert await read_history(store, checkpoint) == jsons("a?", "a!")


async def test_chain_at_its_tip_shares_one_segment(store: Store) -> None:
    checkpoints = [await run_turn(store, "a")]
    for id in "bcd":
        checkpoints.append(await run_turn(store, id, checkpoints[-1]))
    assert {checkpoint.segment for checkpoint in checkpoints if checkpoint} == {"a"}
    assert await read_history(store, checkpoints[-1]) == jsons("a?", "a!", "b?", "b!", "c?", "c!", "d?", "d!")
    assert await read_history(store, checkpoints[1]) == jsons("a?", "a!", "b?", "b!")
    assert await store.input_items(ref("c")) == jsons("c?")


async def test_fork_below_the_tip_does_not_see_what_came_after_it(store: Store) -> None:
    a = await run_turn(store, "a")
    b = await run_turn(store, "b", a)
    other = await run_turn(store, "c", a)
    further = await run_turn(store, "d", other)
    assert await read_history(store, further) == jsons("a?", "a!", "c?", "c!", "d?", "d!")
    assert await read_history(store, b) == jsons("a?", "a!", "b?", "b!")
    assert await store.input_items(ref("c")) == jsons("c?")


async def test_two_turns_from_one_place_at_the_same_time_fork(store: Store) -> None:
    a = await run_turn(store, "a")
    for id in "bc":
        await store.create(new(id, parent=a, input=(item(f"{id}?"),)))
    for id in "bc":
        await store.finish(ending(id, 1, f"{id}!"))
    for id in "bc":
        stored = await store.response(ref(id))
        assert stored is not None
        assert await read_history(store, stored.checkpoint) == jsons("a?", "a!", f"{id}?", f"{id}!")


async def test_forks_of_forks_stay_readable_in_one_call(store: Store) -> None:
    checkpoint, said = await run_turn(store, "t0"), ["t0?", "t0!"]
    for n in range(1, 3 * MAX_HISTORY_DEPTH):
        await run_turn(store, f"other{n}", checkpoint)
        checkpoint = await run_turn(store, f"t{n}", checkpoint)
        said += [f"t{n}?", f"t{n}!"]
        assert await read_history(store, checkpoint) == jsons(*said)


async def test_a_history_that_has_too_many_bytes_is_only_counted(store: Store) -> None:
    a = await run_turn(store, "a")
    b = await run_turn(store, "b", a)
    fork = await run_turn(store, "c", a)
    assert b is not None
    assert fork is not None
    size = sum(map(len, jsons("a?", "a!", "b?", "b!")))
    assert await store.history(ALICE, fork, size) == jsons("a?", "a!", "c?", "c!")
    assert await store.history(ALICE, fork, size - 1) == Oversized(size)
    assert await store.history(ALICE, b, 0) == Oversized(size)
    assert await store.history(ALICE, Checkpoint("nobody", 0), 0) is None


async def test_no_more_is_counted_than_it_takes_to_know_that_it_is_too_much(redis: RedisStore) -> None:
    many = [Item(f"i{n}", b"x" * 10) for n in range(1000)]
    await redis.create_conversation(ALICE, Conversation("conv_1", 0, {}), many)
    assert await redis.history(ALICE, Checkpoint("conv_1", 999), 9999) == Oversized(10_000)
    counted = await redis.history(ALICE, Checkpoint("conv_1", 999), 500, 2000)
    assert isinstance(counted, Oversized)
    assert 2000 < counted.size <= 3000


async def test_where_a_response_ends(store: Store) -> None:
    checkpoint = await run_turn(store, "a")
    assert await store.response_end(ref("a")) == checkpoint
    await run_turn(store, "b", kept=False)
    assert await store.response_end(ref("b")) is None
    assert await store.response_end(ref("c")) is None
    await store.create(new("d"))
    assert await store.response_end(ref("d")) is None


async def test_fork_depth_is_bounded(redis: RedisStore) -> None:
    checkpoint = await run_turn(redis, "t0")
    for n in range(1, 2 * MAX_HISTORY_DEPTH + 2):
        await run_turn(redis, f"other{n}", checkpoint)
        checkpoint = await run_turn(redis, f"t{n}", checkpoint)
        depth = await redis._client.call("HGET", redis._keys.segment(ALICE, f"t{n}"), "depth")
        assert int(depth) <= MAX_HISTORY_DEPTH


async def test_turn_without_items_ends_where_its_parent_ended(store: Store) -> None:
    a = await run_turn(store, "a")
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
    assert await read_history(store, await run_turn(store, "b", stored.checkpoint)) == jsons("b?", "b!")


async def test_unkept_turn_leaves_no_history(store: Store) -> None:
    a = await run_turn(store, "a")
    assert await run_turn(store, "b", a, kept=False) is None
    assert await read_history(store, a) == jsons("a?", "a!")
    assert await run_turn(store, "c", a) == Checkpoint("a", 3)


async def test_history_of_somebody_else_is_missing(store: Store) -> None:
    assert await read_history(store, await run_turn(store, "a"), BOB) is None


async def test_history_that_never_was_is_missing(store: Store) -> None:
    assert await store.history(ALICE, Checkpoint("nobody", 0)) is None
    await run_turn(store, "a")
    assert await store.history(ALICE, Checkpoint("a", 2)) is None


async def test_deleting_a_response_keeps_the_chain_that_continues_it(store: Store) -> None:
    a = await run_turn(store, "a")
    b = await run_turn(store, "b", a)
    await store.delete(ref("a"))
    assert await store.response(ref("a")) is None
    assert await read_history(store, b) == jsons("a?", "a!", "b?", "b!")


async def test_items_are_deleted_with_the_last_response_that_uses_them(store: Store) -> None:
    a = await run_turn(store, "a")
    b = await run_turn(store, "b", a)
    c = await run_turn(store, "c", a)
    await store.delete(ref("a"))
    await store.delete(ref("b"))
    assert await read_history(store, c) == jsons("a?", "a!", "c?", "c!")
    await store.delete(ref("c"))
    for checkpoint in (a, b, c):
        assert await read_history(store, checkpoint) is None


async def test_continuing_what_is_not_there_is_missing_not_shorter(store: Store) -> None:
    b = await run_turn(store, "b", Checkpoint("nobody", 0))
    assert await read_history(store, b) is None
    assert await store.input_items(ref("b")) == jsons("b?")


async def test_running_turn_keeps_what_it_continues(store: Store) -> None:
    a = await run_turn(store, "a")
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
    a = await run_turn(store, "a")
    await store.create(new("c", parent=a, input=(item("c?"),)))
    b = await run_turn(store, "b", a)
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
    a = await run_turn(store, "a")
    await store.create(new("b", parent=a, kept=False, input=(item("b?"),)))
    await store.delete(ref("a"))
    assert await read_history(store, a) == jsons("a?", "a!")
    await store.finish(ending("b", 1, "b!"))
    assert await read_history(store, a) is None


async def test_deleted_turn_releases_what_it_continues(store: Store) -> None:
    a = await run_turn(store, "a")
    await store.create(new("b", parent=a))
    await store.delete(ref("b"))
    assert await read_history(store, a) == jsons("a?", "a!")
    await store.delete(ref("a"))
    assert await read_history(store, a) is None


async def test_turn_that_is_admitted_twice_counts_as_one_user(store: Store) -> None:
    a = await run_turn(store, "a")
    for _ in range(2):
        await store.create(new("b", parent=a))
    for _ in range(2):
        await store.finish(ending("b"))
    for id in "ab":
        await store.delete(ref(id))
    assert await read_history(store, a) is None
