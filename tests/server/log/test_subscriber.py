"""Following a turn: exactly once, from any position, wherever it is written."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import cast

import pytest

from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.log.subscriber import LogNotice, LogSubscriber, LogUpdate
from server.log.tailer import FollowPolicy
from server.protocol.entry import Event, Kind
from server.protocol.status import Status
from server.store.contracts import Store
from server.store.errors import PositionLost
from server.store.memory.store import MemoryStore
from server.store.redis.store import RedisStore
from server.store.types import Lease, LogEntry, LogPage, TurnRef, WriteStatus
from tests.server.store.faulty import Faulty
from tests.server.store.make import DONE, MINE, append, ending, new, ref

SHORT = FollowPolicy(behind_seconds=0.5, quiet_seconds=0.25, wake_pause=0.002, retry_seconds=0.02, block_seconds=0.2)


@pytest.fixture
async def watcher(store: Store) -> AsyncIterator[LogSubscriber]:
    async with LogSubscriber(store, patience=SHORT, page=7) as watcher:
        yield watcher


async def everything(watcher: LogSubscriber, after: int, id: str = "resp_1") -> list[tuple[int, int]]:
    """The numbers that a viewer sees, entry by entry, notices left out. Now and then it takes them at once."""
    seen: list[LogEntry] = []

    def take(run: list[LogEntry]) -> bool:
        if random.random() < 0.5:
            return False
        seen.extend(run)
        return True

    async for one in watcher.subscribe(ref(id), after, take):
        if not isinstance(one, LogNotice):
            seen.extend(one)
    return [(logged.after_seq, logged.last_seq) for logged in seen]


async def write(store: Store, tops: list[int], id: str = "resp_1") -> None:
    """Append entries that end at these numbers; the last one ends the turn."""
    after = 1
    for top in tops[:-1]:
        assert (await store.append([append(id, after, top)]))[0].status is WriteStatus.OK
        after = top
    assert (await store.finish(ending(id, after, top=tops[-1]))).status is WriteStatus.OK


@pytest.mark.parametrize(("after", "tops"), [(-1, [1, 3, 6, 7]), (0, [1, 3, 6, 7]), (1, [3, 6, 7]), (4, [6, 7]),
                                             (6, [7]), (7, [])])  # fmt: skip
async def test_finished_log_from_any_position(
    store: Store, watcher: LogSubscriber, after: int, tops: list[int]
) -> None:
    await store.create(new())
    await write(store, [3, 6, 7])
    assert [top for _, top in await everything(watcher, after)] == tops


async def test_pages(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    await write(store, list(range(2, 40)))
    assert [top for _, top in await everything(watcher, -1)] == list(range(1, 40))


@pytest.mark.parametrize("after", [8, 10**6])
async def test_position_above_a_finished_log_is_lost(store: Store, watcher: LogSubscriber, after: int) -> None:
    await store.create(new())
    await write(store, [7])
    with pytest.raises(PositionLost) as caught:
        await everything(watcher, after)
    assert (caught.value.status, caught.value.last_seq, caught.value.after) == (Status.COMPLETED, 7, after)


async def test_position_in_a_turn_that_is_gone_is_lost(store: Store, watcher: LogSubscriber) -> None:
    with pytest.raises(PositionLost) as caught:
        await everything(watcher, -1)
    assert caught.value.status is None


async def test_position_above_a_running_log_waits_for_it(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    seen = asyncio.create_task(everything(watcher, 3))
    await asyncio.sleep(0.05)
    await write(store, [3, 5])
    assert await seen == [(3, 5)]


async def test_position_that_a_running_log_never_reaches_is_lost(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    with pytest.raises(PositionLost) as caught:
        await everything(watcher, 3)
    assert (caught.value.status, caught.value.last_seq) == (Status.IN_PROGRESS, 1)


async def test_position_inside_a_hole_is_lost_and_one_before_it_is_not(redis: RedisStore) -> None:
    """Numbers that a takeover skipped: whoever saw one of them cannot go on."""
    await redis.create(new())
    await redis.append([append(after=1, top=3)])
    await redis._client.call("HSET", redis._keys.turn("alice", "resp_1"), "top", 1003)
    await write_after_hole(redis)
    async with LogSubscriber(redis, patience=SHORT) as watcher:
        assert [top for _, top in await everything(watcher, -1)] == [1, 3, 1005]
        assert [top for _, top in await everything(watcher, 3)] == [1005]
        assert [top for _, top in await everything(watcher, 1003)] == [1005]
        for inside in (4, 500, 1002):
            with pytest.raises(PositionLost):
                await everything(watcher, inside)


async def test_viewer_who_saw_what_redis_lost_is_told_after_a_takeover(redis: RedisStore) -> None:
    names = [redis._keys.turn("alice", "resp_1"), redis._keys.log("alice", "resp_1")]
    await redis.create(new())
    for name in names:
        await redis._client.call("COPY", name, name + "~")
    async with LogSubscriber(redis, patience=SHORT) as watcher:
        seen: list[LogUpdate] = []
        at_three = asyncio.Event()

        async def follow() -> None:
            async for one in watcher.subscribe(ref(), -1):
                seen.append(one)
                if not isinstance(one, LogNotice) and one[-1].last_seq == 3:
                    at_three.set()

        viewer = asyncio.create_task(follow())
        await redis.append([append(after=1, top=3)])
        await at_three.wait()
        for name in names:
            await redis._client.call("RENAME", name + "~", name)
        await redis._client.call("HSET", names[0], "top", 1001)
        await redis.finish(ending(after=1001, top=1002))
        with pytest.raises(PositionLost):
            await viewer
        assert [top for _, top in await everything(watcher, 1)] == [1002]


async def write_after_hole(store: Store) -> None:
    assert (await store.finish(ending(after=1003, top=1005))).status is WriteStatus.OK


async def test_trimmed_log_is_lost_never_shortened(redis: RedisStore) -> None:
    await redis.create(new())
    await write(redis, [3, 5, 7])
    await redis._client.call("XTRIM", redis._keys.log("alice", "resp_1"), "MAXLEN", 2)
    async with LogSubscriber(redis, patience=SHORT) as watcher:
        for after in (-1, 1, 2):
            with pytest.raises(PositionLost):
                await everything(watcher, after)
        assert await everything(watcher, 4) == [(3, 5), (5, 7)]


async def test_log_that_expired_is_lost(redis: RedisStore) -> None:
    await redis.create(new())
    await write(redis, [3])
    await redis._client.call("DEL", redis._keys.log("alice", "resp_1"))
    async with LogSubscriber(redis, patience=SHORT) as watcher:
        with pytest.raises(PositionLost):
            await everything(watcher, 1)
        assert await everything(watcher, 3) == []


async def test_viewers_join_at_random_instants(store: Store, watcher: LogSubscriber) -> None:
    """Snapshot and live ends overlap: no gap, no duplicate, whenever a viewer comes."""
    await store.create(new())
    chance = random.Random(7)
    tops = sorted(chance.sample(range(2, 400), 120))
    viewers: list[tuple[int, asyncio.Task[list[tuple[int, int]]]]] = []
    after = 1
    for top in tops[:-1]:
        for _ in range(chance.randrange(3)):
            start = chance.randint(-1, after)
            viewers.append((start, asyncio.create_task(everything(watcher, start))))
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.004)))
        await store.append([append(after=after, top=top)])
        after = top
    await store.finish(ending(after=after, top=tops[-1]))
    whole = [(-1, 1), *zip([1, *tops], tops, strict=False)]
    for start, viewer in viewers:
        assert await viewer == [(low, top) for low, top in whole if top > start]


async def test_many_turns_at_once(store: Store, watcher: LogSubscriber) -> None:
    ids = [f"resp_{n}" for n in range(30)]
    for id in ids:
        await store.create(new(id))
    seen = [asyncio.create_task(everything(watcher, -1, id)) for id in ids]
    await asyncio.sleep(0.02)
    await asyncio.gather(*(write(store, [3, 5, 9], id) for id in ids))
    assert await asyncio.gather(*seen) == [[(-1, 1), (1, 3), (3, 5), (5, 9)]] * 30


async def test_viewer_from_below_does_not_take_the_mirror_from_one_at_the_tip(
    store: Store, watcher: LogSubscriber
) -> None:
    await store.create(new())
    await store.append([append(after=1, top=5)])
    tip = asyncio.create_task(everything(watcher, 5))
    await asyncio.sleep(0.02)
    below = asyncio.create_task(everything(watcher, 1))
    await asyncio.sleep(0.02)
    await store.append([append(after=5, top=6)])
    await store.finish(ending(after=6))
    assert await tip == [(5, 6), (6, 7)]
    assert await below == [(1, 5), (5, 6), (6, 7)]


async def test_late_answer_to_an_older_mirrors_read_makes_no_gap(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    await store.append([append(after=1, top=3)])
    await store.append([append(after=3, top=5)])
    reader = watcher._reader(ref())
    mirror = reader.follow(ref(), 1, ())
    reader._deliver({ref(): 3}, {ref(): (await store.read(ref(), 3, 9)).entries})
    assert mirror.last_seq == 1
    reader._deliver({ref(): 1}, {ref(): (await store.read(ref(), 1, 9)).entries})
    assert mirror.last_seq == 5


async def test_mirror_that_lacks_what_the_log_has_is_not_believed(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    await store.append([append(after=1, top=3)])
    await store.append([append(after=3, top=5)])
    mirror = watcher._reader(ref()).follow(ref(), 1, (await store.read(ref(), 3, 9)).entries)
    seen = asyncio.create_task(everything(watcher, 1))
    await asyncio.sleep(0.02)
    await store.finish(ending(after=5))
    assert await seen == [(1, 3), (3, 5), (5, 6)]
    assert mirror.closed


async def test_turn_that_vanishes_while_it_is_watched_is_lost(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    seen = asyncio.create_task(everything(watcher, 1))
    await asyncio.sleep(0.05)
    await store.delete(ref())
    with pytest.raises(PositionLost) as caught:
        await asyncio.wait_for(seen, 3)
    assert caught.value.status is None


async def test_cancelled_and_abandoned_watches_leave_nothing(store: Store, watcher: LogSubscriber) -> None:
    await store.create(new())
    await cancelled(watcher)
    async for _ in watcher.subscribe(ref(), -1):
        break
    gc.collect()
    await asyncio.sleep(0.05)
    assert [reader._positions() for reader in watcher._readers.values()] == [{}]


async def cancelled(watcher: LogSubscriber) -> None:
    seen = [asyncio.create_task(everything(watcher, 1)) for _ in range(20)]
    await asyncio.sleep(0.03)
    assert [reader._positions() for reader in watcher._readers.values()] == [{ref(): 1}]
    for one in seen:
        one.cancel()
    await asyncio.gather(*seen, return_exceptions=True)


async def test_local_turn_is_read_from_memory_and_goes_on_elsewhere_when_it_is_fenced(store: Store) -> None:
    async with Journal(store) as journal, LogSubscriber(store, journal, patience=SHORT) as watcher:
        await store.create(new())
        writer = journal.open_writer(ref(), MINE, 1, None, [LogEntry(1, b"first")])
        seen = asyncio.create_task(everything(watcher, -1))
        writer.append([Event(Kind.TEXT, "a")])
        await writer.flushed()
        await store.claim(ref(), MINE, "node-b")
        writer.append([Event(Kind.TEXT, "never")])
        mine = Lease(2, "node-b")
        await store.append([append(after=2, top=4, lease=mine)])
        await store.finish(ending(after=4, top=5, lease=mine))
        assert await seen == [(-1, 1), (1, 2), (2, 4), (4, 5)]


async def test_remote_turn_that_is_claimed_here_is_read_from_memory(store: Store) -> None:
    async with Journal(store) as journal, LogSubscriber(store, journal, patience=SHORT) as watcher:
        await store.create(new())
        seen = asyncio.create_task(everything(watcher, -1))
        await asyncio.sleep(0.02)
        outcome = await store.claim(ref(), MINE, "node-b")
        assert outcome.lease is not None
        writer = journal.open_writer(ref(), outcome.lease, 1, None, (await store.read(ref(), -1, 99)).entries)
        for _ in range(5):
            writer.append([Event(Kind.TEXT, "a")])
            await writer.flushed()
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        assert await seen == [(-1, 1), *((n, n + 1) for n in range(1, 7))]


async def test_position_above_a_local_log_waits_then_is_lost(store: Store) -> None:
    async with Journal(store) as journal, LogSubscriber(store, journal, patience=SHORT) as watcher:
        await store.create(new())
        writer = journal.open_writer(ref(), MINE, 1, None, [LogEntry(1, b"first")])
        seen = asyncio.create_task(everything(watcher, 2))
        with pytest.raises(PositionLost):
            await everything(watcher, 5)
        assert isinstance((await asyncio.gather(seen, return_exceptions=True))[0], PositionLost)
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        assert await everything(watcher, 2) == []
        with pytest.raises(PositionLost):
            await everything(watcher, 3)


async def test_local_viewer_is_told_of_a_stall(store: Store) -> None:
    faulty = Faulty(store)
    async with (
        Journal(faulty, pace=CommitPolicy(stall_seconds=0.02)) as journal,
        LogSubscriber(store, journal, patience=SHORT) as watcher,
    ):
        await store.create(new())
        writer = journal.open_writer(ref(), MINE, 1, None, [LogEntry(1, b"first")])
        faulty.gate.clear()
        writer.append([Event(Kind.TEXT, "a")])
        seen: list[LogUpdate] = []
        async for one in watcher.subscribe(ref(), 1):
            seen.append(one)
            if one is LogNotice.STALLED:
                faulty.gate.set()
            if not isinstance(one, LogNotice):
                break
        assert seen[0] is LogNotice.STALLED
        assert cast("list[LogEntry]", seen[-1])[-1].last_seq == 2


async def test_closing_the_watcher_with_viewers_inside_ends_its_tasks() -> None:
    store = MemoryStore()
    await store.create(new())
    watcher = LogSubscriber(store, patience=SHORT)
    seen = asyncio.create_task(everything(watcher, 1))
    await asyncio.sleep(0.02)
    seen.cancel()
    await asyncio.gather(seen, return_exceptions=True)
    await watcher.close()
    await watcher.close()


async def test_answer_that_makes_no_sense_loses_one_viewer() -> None:
    class Odd(MemoryStore):
        async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
            if ref("bad") in after:
                raise KeyError("what?")
            return await super().follow(after, wait_ms)

        async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
            if ref.id == "bad" and after > 1:
                raise ValueError("what?")
            return await super().read(ref, after, limit)

    store = Odd()
    async with LogSubscriber(store, patience=SHORT) as watcher:
        for id in ("bad", "good"):
            await store.create(new(id))
            await store.append([append(id)])
        seen = [asyncio.create_task(everything(watcher, 1, id)) for id in ("bad", "good")]
        await asyncio.sleep(0.1)
        await store.finish(ending("good", 2))
        with pytest.raises(PositionLost):
            await seen[0]
        assert await seen[1] == [(1, 2), (2, 3)]
