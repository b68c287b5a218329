"""The contract of every store: turns, leases and logs."""

import asyncio

import msgspec
import pytest

from server.protocol.status import Status
from server.store.contracts import Store
from server.store.errors import KeyReused
from server.store.types import CreateResult, Lease, LogEntry, WriteResult, WriteStatus
from tests.server.store.make import ALICE, BOB, MINE, append, ending, item, jsons, new, ref

OTHER = Lease(2, "node-b")


async def test_created_turn_is_read_as_it_was_written(store: Store) -> None:
    assert await store.create(new()) == CreateResult()
    turn = await store.turn(ref())
    assert turn is not None
    assert (turn.status, turn.last_seq, turn.lease, turn.stop, turn.kept) == (Status.IN_PROGRESS, 1, MINE, False, True)
    assert turn.record == {"request": b"\x00\xff", "prompt": b"1"}
    assert turn.conversation is None
    assert turn.created_at > 1e9


async def test_turn_without_a_lease_is_queued(store: Store) -> None:
    await store.create(new(lease=None, last_seq=0))
    turn = await store.turn(ref())
    assert turn is not None
    assert (turn.status, turn.lease, turn.last_seq) == (Status.QUEUED, None, 0)


async def test_create_repeated_changes_nothing(store: Store) -> None:
    await store.create(new())
    await store.append([append()])
    assert await store.create(new()) == CreateResult()
    assert (await store.read(ref(), -1, 9)).last_seq == 2


async def test_idempotency_key_names_the_turn_that_it_created(store: Store) -> None:
    assert await store.create(new("a", idempotency_key="k")) == CreateResult()
    assert await store.create(new("a", idempotency_key="k")) == CreateResult()
    assert await store.create(new("b", idempotency_key="k")) == CreateResult("a")
    assert await store.turn(ref("b")) is None
    assert await store.create(new("c", idempotency_key="k", caller=BOB)) == CreateResult()


async def test_idempotency_key_with_another_body_is_refused(store: Store) -> None:
    await store.create(new("a", idempotency_key="k"))
    with pytest.raises(KeyReused):
        await store.create(new("b", idempotency_key="k", fingerprint="g"))


async def test_turn_of_an_idempotency_key_is_found(store: Store) -> None:
    await store.create(new("a", idempotency_key="k", fingerprint="g"))
    assert await store.find_idempotent(ALICE, "k") == ("a", "g")
    assert await store.find_idempotent(ALICE, "l") is None
    assert await store.find_idempotent(BOB, "k") is None


async def test_idempotency_key_outlives_the_end_and_is_deleted_with_the_response(store: Store) -> None:
    await store.create(new("a", idempotency_key="k"))
    await store.finish(ending("a"))
    assert await store.create(new("b", idempotency_key="k")) == CreateResult("a")
    assert await store.delete(ref("a"))
    assert await store.create(new("b", idempotency_key="k")) == CreateResult()


async def test_append_extends_the_log(store: Store) -> None:
    await store.create(new())
    assert await store.append([append(after=1, top=4)]) == [WriteResult(WriteStatus.OK, 4, False, MINE)]
    page = await store.read(ref(), -1, 9)
    assert page.entries == (LogEntry(1, b"first"), LogEntry(4, b"2..4", 1))
    assert (page.status, page.last_seq) == (Status.IN_PROGRESS, 4)


async def test_append_again_is_a_duplicate(store: Store) -> None:
    await store.create(new())
    await store.append([append(after=1, top=4)])
    assert await store.append([append(after=1, top=4)]) == [WriteResult(WriteStatus.DUPLICATE, 4, False, MINE)]
    assert len((await store.read(ref(), -1, 9)).entries) == 2


async def test_append_above_the_log_is_a_gap(store: Store) -> None:
    await store.create(new())
    assert await store.append([append(after=2)]) == [WriteResult(WriteStatus.GAP, 1, False, MINE)]


async def test_append_under_another_lease_is_fenced(store: Store) -> None:
    await store.create(new())
    for lease in (Lease(2, "node-a"), Lease(1, "node-b"), Lease(0, "node-a")):
        assert await store.append([append(lease=lease)]) == [WriteResult(WriteStatus.FENCED, 1, False, MINE)]


async def test_append_to_a_missing_turn_is_lost(store: Store) -> None:
    assert await store.append([append()]) == [WriteResult(WriteStatus.LOST)]


async def test_each_turn_of_a_batch_is_answered_on_its_own(store: Store) -> None:
    await store.create(new("a"))
    await store.create(new("b", lease=OTHER))
    await store.create(new("c"))
    results = await store.append([append("a"), append("b"), append("nobody"), append("c")])
    assert [o.status for o in results] == [WriteStatus.OK, WriteStatus.FENCED, WriteStatus.LOST, WriteStatus.OK]


async def test_callers_do_not_see_each_other(store: Store) -> None:
    await store.create(new("a", caller=ALICE))
    assert await store.turn(ref("a", BOB)) is None
    assert (await store.read(ref("a", BOB), -1, 9)).status is None
    assert await store.append([append("a", caller=BOB)]) == [WriteResult(WriteStatus.LOST)]
    assert not await store.delete(ref("a", BOB))
    assert (await store.cancel(ref("a", BOB))).status is WriteStatus.LOST


async def test_queued_turn_is_claimed_without_a_lease_seen(store: Store) -> None:
    await store.create(new(lease=None))
    assert await store.claim(ref(), None, "node-a") == WriteResult(WriteStatus.OK, 1, False, Lease(1, "node-a"))
    turn = await store.turn(ref())
    assert turn is not None
    assert (turn.status, turn.claims) == (Status.IN_PROGRESS, 0)


async def test_claim_raises_the_fence_once(store: Store) -> None:
    await store.create(new())
    counted = WriteResult(WriteStatus.OK, 1, False, OTHER, claims=1, idle_claims=1)
    assert await store.claim(ref(), MINE, "node-b") == counted
    assert await store.claim(ref(), MINE, "node-b") == msgspec.structs.replace(counted, status=WriteStatus.DUPLICATE)
    assert await store.claim(ref(), MINE, "node-c") == msgspec.structs.replace(counted, status=WriteStatus.FENCED)
    assert (await store.append([append()]))[0].status is WriteStatus.FENCED
    assert (await store.append([append(lease=OTHER)]))[0].status is WriteStatus.OK


async def test_claim_by_the_holder_itself_raises_the_fence(store: Store) -> None:
    await store.create(new())
    assert (await store.claim(ref(), MINE, "node-a")).lease == Lease(2, "node-a")


async def test_claims_are_counted_until_the_log_grows(store: Store) -> None:
    await store.create(new())
    await store.claim(ref(), MINE, "b")
    await store.claim(ref(), Lease(2, "b"), "c")
    turn = await store.turn(ref())
    assert turn is not None
    assert (turn.claims, turn.idle_claims) == (2, 2)
    await store.append([append(lease=Lease(3, "c"))])
    await store.claim(ref(), Lease(3, "c"), "d")
    turn = await store.turn(ref())
    assert turn is not None
    assert (turn.claims, turn.idle_claims) == (3, 1)


async def test_offered_turn_is_written_until_it_is_claimed(store: Store) -> None:
    await store.create(new())
    assert (await store.offer(ref(), OTHER)).status is WriteStatus.FENCED
    assert await store.offer(ref(), MINE) == WriteResult(WriteStatus.OK, 1, False, MINE)
    assert [turn.offered for turn in await store.unfinished_turns(store.partition(ALICE))] == [True]
    assert (await store.append([append()]))[0].status is WriteStatus.OK
    assert (await store.claim(ref(), MINE, "node-b")).lease == OTHER
    turn = await store.turn(ref())
    assert turn is not None
    assert (turn.offered, turn.claims) == (False, 0)


async def test_released_turn_has_no_owner_and_its_fence_keeps_rising(store: Store) -> None:
    await store.create(new())
    assert await store.release(ref(), MINE) == WriteResult(WriteStatus.OK, 1, False, None)
    assert (await store.release(ref(), MINE)).status is WriteStatus.DUPLICATE
    assert (await store.append([append()]))[0].status is WriteStatus.FENCED
    assert (await store.claim(ref(), None, "node-b")).lease == OTHER
    assert (await store.release(ref(), MINE)).status is WriteStatus.FENCED


async def test_stop_is_answered_by_every_append_and_claim(store: Store) -> None:
    await store.create(new())
    assert await store.cancel(ref()) == WriteResult(WriteStatus.OK, 1, True, MINE)
    assert await store.cancel(ref()) == WriteResult(WriteStatus.OK, 1, True, MINE)
    assert await store.append([append()]) == [WriteResult(WriteStatus.OK, 2, True, MINE)]
    assert (await store.claim(ref(), MINE, "node-b")).stop
    assert [turn.stop for turn in await store.unfinished_turns(store.partition(ALICE))] == [True]


async def test_finish_ends_a_turn_once(store: Store) -> None:
    await store.create(new())
    assert (await store.finish(ending(after=1, top=3, response=b'{"x":1}'))).status is WriteStatus.OK
    assert (await store.finish(ending(after=1, top=3))).status is WriteStatus.DUPLICATE
    assert (await store.finish(ending(after=1, top=4))).status is WriteStatus.FINISHED
    assert (await store.append([append(after=3)]))[0].status is WriteStatus.FINISHED
    assert (await store.claim(ref(), MINE, "node-b")).status is WriteStatus.FINISHED
    assert (await store.cancel(ref())).status is WriteStatus.FINISHED
    assert (await store.offer(ref(), MINE)).status is WriteStatus.FINISHED
    page = await store.read(ref(), 1, 9)
    assert page.entries == (LogEntry(3, b"2..3", 1, is_last=True),)
    assert (page.status, page.last_seq) == (Status.COMPLETED, 3)
    stored = await store.response(ref())
    assert stored is not None
    assert (stored.response, stored.status) == (b'{"x":1}', Status.COMPLETED)


async def test_finish_is_guarded_like_an_append(store: Store) -> None:
    assert (await store.finish(ending())).status is WriteStatus.LOST
    await store.create(new())
    assert (await store.finish(ending(lease=OTHER))).status is WriteStatus.FENCED
    assert (await store.finish(ending(after=5))).status is WriteStatus.GAP
    assert await store.response(ref()) is None


async def test_append_repeated_after_the_end_is_finished(store: Store) -> None:
    await store.create(new())
    await store.append([append()])
    await store.finish(ending(after=2))
    assert (await store.append([append()]))[0].status is WriteStatus.FINISHED


async def test_deleted_turn_stays_deleted(store: Store) -> None:
    await store.create(new())
    assert await store.delete(ref())
    assert not await store.delete(ref())
    assert (await store.append([append()]))[0].status is WriteStatus.LOST
    assert (await store.finish(ending())).status is WriteStatus.LOST
    await store.create(new())
    assert await store.turn(ref()) is None
    assert await store.unfinished_turns(store.partition(ALICE)) == []


@pytest.mark.parametrize(("after", "limit", "last_seqs"), [(-1, 9, [1, 3, 6]), (0, 9, [1, 3, 6]), (1, 9, [3, 6]),
                                                      (2, 9, [3, 6]), (3, 9, [6]), (6, 9, []), (99, 9, []),
                                                      (-1, 2, [1, 3])])  # fmt: skip
async def test_read_starts_with_the_entry_in_which_the_position_lies(
    store: Store, after: int, limit: int, last_seqs: list[int]
) -> None:
    await store.create(new())
    await store.append([append(after=1, top=3)])
    await store.append([append(after=3, top=6)])
    page = await store.read(ref(), after, limit)
    assert [entry.last_seq for entry in page.entries] == last_seqs
    assert page.last_seq == 6


async def test_follow_returns_what_is_there(store: Store) -> None:
    await store.create(new("a"))
    await store.create(new("b"))
    found = await store.follow({ref("a"): -1, ref("b"): 1}, 1000)
    assert found == {ref("a"): (LogEntry(1, b"first"),)}


async def test_follow_blocks_until_a_log_grows(store: Store) -> None:
    await store.create(new())
    waiting = asyncio.create_task(store.follow({ref(): 1}, 60_000))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await store.append([append()])
    assert await waiting == {ref(): (LogEntry(2, b"2..2", 1),)}


async def test_follow_returns_nothing_after_its_wait(store: Store) -> None:
    await store.create(new())
    assert await store.follow({ref(): 1}, 30) == {}


async def test_wake_makes_follow_return(store: Store) -> None:
    await store.wake(store.partition(ALICE))
    for _ in range(3):
        waiting = asyncio.create_task(store.follow({ref(): 1}, 60_000))
        for _ in range(6000):  # one that comes before the read blocks wakes nobody
            await store.wake(store.partition(ALICE))
            if (await asyncio.wait({waiting}, timeout=0.01))[0]:
                break
        assert waiting.done()
        assert await waiting == {}


async def test_follow_can_be_cancelled(store: Store) -> None:
    for _ in range(5):
        waiting = asyncio.create_task(store.follow({ref(): 1}, 60_000))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await store.create(new())
    assert await store.follow({ref(): 0}, 1000) == {ref(): (LogEntry(1, b"first"),)}


async def test_unfinished_turns_are_listed_without_their_records(store: Store) -> None:
    await store.create(new("a"))
    await store.create(new("b", lease=None))
    await store.create(new("c", caller=BOB))
    await store.finish(ending("a"))
    found = {turn.ref: turn for turn in await store.unfinished_turns(store.partition(ALICE))}
    others = [turn.ref for turn in await store.unfinished_turns(store.partition(BOB))]
    assert found.keys() | set(others) == {ref("b"), ref("c", BOB)}
    assert found[ref("b")].record == {}
    whole = await store.turn(ref("b"))
    assert whole is not None
    assert msgspec.structs.replace(whole, record={}) == found[ref("b")]


async def test_input_items_are_known_while_the_turn_runs_and_afterwards(store: Store) -> None:
    assert await store.input_items(ref()) is None
    for kept in (True, False):
        id = f"resp_{kept}"
        await store.create(new(id, kept=kept, input=(item("x"), item("y"))))
        assert await store.input_items(ref(id)) == jsons("x", "y")
        await store.finish(ending(id, 1, "z"))
        assert await store.input_items(ref(id)) == jsons("x", "y")


async def test_check_and_close(store: Store) -> None:
    await store.check()
    await store.close()
    await store.close()
