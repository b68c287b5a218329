"""The contract of every store: who lives, what they tell each other, and what a claim from another Redis means."""

import msgspec

from server.protocol.status import Status
from server.store.contracts import Store
from server.store.memory.store import MemoryStore
from server.store.redis.store import RedisStore
from server.store.types import HOLE, Lease, LogEntry, TurnRef, WriteStatus
from tests.server.store.make import ALICE, MINE, append, ending, new, ref

OTHER = Lease(2, "node-b")


async def test_each_beat_counts_up_and_reads_all(store: Store) -> None:
    assert (await store.beat("a", b"ready 1")).counts == {"a": 1}
    assert (await store.beat("b", b"x")).counts == {"a": 1, "b": 1}
    roll = await store.beat("a", b"full 0")
    assert (roll.counts, roll.nodes, roll.notifications) == ({"a": 2, "b": 1}, {"a": b"full 0", "b": b"x"}, ())


async def test_mail_is_taken_once_by_its_owner(store: Store) -> None:
    letter = TurnRef("a caller with spaces", "resp_1")
    await store.notify_owner("a", letter)
    await store.notify_owner("a", ref())
    assert (await store.beat("b", b"")).notifications == ()
    assert (await store.beat("a", b"")).notifications == (letter, ref())
    assert (await store.beat("a", b"")).notifications == ()


async def test_only_a_count_that_stood_still_is_struck_out(store: Store) -> None:
    await store.beat("a", b"")
    await store.beat("a", b"")
    await store.retire("a", 1)
    assert (await store.beat("b", b"")).counts == {"a": 2, "b": 1}
    await store.retire("a", 2)
    assert (await store.beat("b", b"")).counts == {"b": 2}


async def test_looks_are_counted(store: Store) -> None:
    await store.create(new(kept=False))
    await store.report_viewer(ref())
    await store.report_viewer(ref())
    turn = await store.turn(ref())
    assert turn is not None
    assert turn.viewer_reports == 2
    assert [turn.viewer_reports for turn in await store.unfinished_turns(store.partition(ALICE))] == [2]
    await store.report_viewer(ref("resp_2"))
    assert await store.turn(ref("resp_2")) is None


async def test_claim_from_the_same_redis_leaves_no_hole(store: Store) -> None:
    await store.create(new())
    assert not (await store.claim(ref(), MINE, "node-b")).hole


async def test_claim_from_another_redis_skips_numbers(store: Store) -> None:
    """The dead owner may have shown what is not here: those numbers are never used again."""
    await store.create(new())
    await another_run(store)
    assert (await store.claim(ref(), MINE, "node-b")).hole
    again = await store.claim(ref(), MINE, "node-b")
    assert (again.status, again.hole) == (WriteStatus.DUPLICATE, True)
    over = append(after=1 + HOLE, top=3 + HOLE, lease=OTHER)
    assert (await store.append([append(after=1 + HOLE, top=3 + HOLE)]))[0].status is WriteStatus.FENCED
    assert (await store.append([over]))[0].status is WriteStatus.OK
    assert (await store.append([over]))[0].status is WriteStatus.DUPLICATE
    page = await store.read(ref(), 1, 9)
    assert (page.entries, page.last_seq) == ((LogEntry(3 + HOLE, over.entry, 1 + HOLE),), 3 + HOLE)
    assert (await store.append([append(after=1 + 2 * HOLE, lease=OTHER)]))[0].status is WriteStatus.GAP


async def test_turn_may_end_right_after_a_hole(store: Store) -> None:
    await store.create(new())
    await another_run(store)
    await store.claim(ref(), MINE, "node-b")
    assert (await store.finish(ending(after=1 + HOLE, lease=OTHER))).status is WriteStatus.OK
    assert (await store.read(ref(), -1, 9)).status is Status.COMPLETED


async def test_hole_is_still_to_come_for_a_second_claim_and_then_over(store: Store) -> None:
    await store.create(new())
    await another_run(store)
    await store.claim(ref(), MINE, "node-b")
    assert (await store.claim(ref(), OTHER, "node-c")).hole
    third = Lease(3, "node-c")
    await store.append([append(after=1 + HOLE, lease=third)])
    assert not (await store.claim(ref(), third, "node-d")).hole


async def test_queued_turn_and_an_owner_who_comes_back_leave_no_hole(store: Store) -> None:
    await store.create(new("a", lease=None))
    await store.create(new("b"))
    await another_run(store)
    assert not (await store.claim(ref("a"), None, "node-b")).hole
    assert not (await store.claim(ref("b"), MINE, MINE.owner, above=1)).hole


async def test_an_owner_who_comes_back_writes_its_holes_again(store: Store) -> None:
    """Redis forgot the claim that made the hole; the owner has the whole log, and gives it back as it was."""
    await store.create(new())
    claimed = await store.claim(ref(), MINE, "node-b", above=5)
    assert claimed.lease == Lease(6, "node-b")
    over = append(after=1 + HOLE, top=3 + HOLE, lease=Lease(6, "node-b"))
    assert [one.status for one in await store.append([over])] == [WriteStatus.OK]
    end = ending(after=3 + 2 * HOLE, lease=Lease(6, "node-b"))
    assert (await store.finish(end)).status is WriteStatus.OK


async def test_idle_claims_are_forgotten_when_the_log_grows(store: Store) -> None:
    await store.create(new())
    await store.claim(ref(), MINE, "node-b")
    turn = await store.turn(ref())
    assert turn is not None
    assert turn.idle_claims == 1
    await store.append([append(lease=OTHER)])
    grown = await store.turn(ref())
    assert grown is not None
    assert (grown.idle_claims, grown.claims) == (0, 1)
    assert [msgspec.structs.replace(grown, record={})] == await store.unfinished_turns(store.partition(ALICE))


async def another_run(store: Store) -> None:
    """As if Redis had been started anew since the last claim."""
    if isinstance(store, MemoryStore):
        store.run = "2"
        return
    assert isinstance(store, RedisStore)
    async with store._client.server_of(store._keys.unfinished(store.partition(ALICE))) as client:
        for key in await client.call("KEYS", "*:turn:*"):
            await client.call("HSET", key, "run", "0" * 40)
