"""The contract of every store: claims after the store was restarted, the holes that they leave, and what is counted."""

import msgspec
import pytest

from server.protocol.status import Status
from server.store.contracts import Store
from server.store.memory.store import MemoryStore
from server.store.redis.store import RedisStore
from server.store.types import HOLE, Lease, LogEntry, WriteStatus
from tests.server.store.make import ALICE, MINE, append, ending, new, ref

OTHER = Lease(2, "node-b")


async def test_reports_of_viewers_are_counted_until_the_end(store: Store) -> None:
    await store.create(new(kept=False))
    await store.report_viewer(ref())
    await store.report_viewer(ref())
    turn = await store.turn(ref())
    assert turn is not None
    assert turn.viewer_reports == 2
    assert [turn.viewer_reports for turn in await store.unfinished_turns(store.partition(ALICE))] == [2]
    await store.report_viewer(ref("resp_2"))
    assert await store.turn(ref("resp_2")) is None
    await store.finish(ending())
    await store.report_viewer(ref())
    turn = await store.turn(ref())
    assert turn is not None
    assert turn.viewer_reports == 2


async def test_claim_without_a_restart_leaves_no_hole(store: Store) -> None:
    await store.create(new())
    assert not (await store.claim(ref(), MINE, "node-b")).hole


async def test_claim_after_a_restart_skips_numbers(store: Store) -> None:
    """The dead owner may have shown entries that are lost: their numbers are never used again."""
    await store.create(new())
    await restart(store)
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
    await restart(store)
    await store.claim(ref(), MINE, "node-b")
    assert (await store.finish(ending(after=1 + HOLE, lease=OTHER))).status is WriteStatus.OK
    assert (await store.read(ref(), -1, 9)).status is Status.COMPLETED


async def test_second_claim_before_an_append_has_the_hole_and_later_ones_have_not(store: Store) -> None:
    await store.create(new())
    await restart(store)
    await store.claim(ref(), MINE, "node-b")
    assert (await store.claim(ref(), OTHER, "node-c")).hole
    third = Lease(3, "node-c")
    await store.append([append(after=1 + HOLE, lease=third)])
    assert not (await store.claim(ref(), third, "node-d")).hole


@pytest.mark.parametrize("was", ["queued", "given back"])
async def test_claim_of_a_turn_without_an_owner_after_a_restart_skips_numbers(store: Store, was: str) -> None:
    """It may have been claimed and shown, and the store forgot the claim too: the same fence, and other text."""
    await store.create(new(lease=None if was == "queued" else MINE))
    if was == "given back":
        await store.release(ref(), MINE)
    await restart(store)
    claimed = await store.claim(ref(), None, "node-b")
    assert claimed.hole
    assert claimed.lease is not None
    over = append(after=1 + HOLE, top=3 + HOLE, lease=claimed.lease)
    assert [one.status for one in await store.append([over])] == [WriteStatus.OK]


async def test_claim_of_a_queued_turn_without_a_restart_leaves_no_hole(store: Store) -> None:
    await store.create(new(lease=None))
    assert not (await store.claim(ref(), None, "node-b")).hole


async def test_claims_by_owners_that_come_back_leave_no_hole(store: Store) -> None:
    await store.create(new("b"))
    await restart(store)
    assert not (await store.claim(ref("b"), MINE, MINE.owner, above=1)).hole


async def test_owner_that_comes_back_writes_its_holes_again(store: Store) -> None:
    """Redis lost the claim that made the hole; the owner has the whole log, and writes it back as it was."""
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


async def restart(store: Store) -> None:
    """As if the store had been restarted since the last claim."""
    if isinstance(store, MemoryStore):
        store.run = "2"
        return
    assert isinstance(store, RedisStore)
    async with store._client.server_of(store._keys.unfinished(store.partition(ALICE))) as client:
        for key in await client.call("KEYS", "*:turn:*"):
            await client.call("HSET", key, "run", "0" * 40)
