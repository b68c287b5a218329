"""Following a turn: each entry once, from any position, wherever the log is written."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import cast
from unittest.mock import patch

import msgspec
import pytest

from server.log.buffer import LogBuffer
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
from tests.server.log.sinks import RecordingSink
from tests.server.peer import PATIENCE
from tests.server.store.faulty import Faulty
from tests.server.store.make import DONE, MINE, append, claimed, ending, new, ref
from tests.waiting import until

SHORT = FollowPolicy(behind_seconds=0.5, quiet_seconds=0.25, wake_pause=0.002, retry_seconds=0.02, block_seconds=0.2)


@pytest.fixture
async def subscriber(store: Store) -> AsyncIterator[LogSubscriber]:
    async with LogSubscriber(store, policy=SHORT, page_entries=7) as subscriber:
        yield subscriber


async def everything(subscriber: LogSubscriber, after: int, id: str = "resp_1") -> list[tuple[int, int]]:
    """The numbers that a subscription sees, entry by entry, notices left out. Now and then its sink takes them."""
    sink = RecordingSink(lambda: random.random() < 0.5)
    async for update in subscriber.subscribe(ref(id), after, sink):
        if not isinstance(update, LogNotice):
            sink.entries += update
    return [(entry.after_seq, entry.last_seq) for entry in sink.entries]


def mirror_of(subscriber: LogSubscriber, id: str) -> LogBuffer | None:
    mirrors = [tailer.mirror(ref(id)) for tailer in subscriber._tailers.values()]
    return next((mirror for mirror in mirrors if mirror is not None), None)


def mirrored(subscriber: LogSubscriber, id: str = "resp_1") -> int | None:
    """Number of the last event in the mirror of a log; None where nobody follows it."""
    mirror = mirror_of(subscriber, id)
    return None if mirror is None else mirror.last_seq


def waiting(subscriber: LogSubscriber, id: str = "resp_1") -> int:
    """How many subscriptions have read the mirror of a log to its end."""
    mirror = mirror_of(subscriber, id)
    return 0 if mirror is None else len(mirror._waiting)


async def write(store: Store, last_seqs: list[int], id: str = "resp_1") -> None:
    """Append entries that end at these numbers; the last one ends the turn."""
    after = 1
    for last_seq in last_seqs[:-1]:
        assert (await store.append([append(id, after, last_seq)]))[0].status is WriteStatus.OK
        after = last_seq
    assert (await store.finish(ending(id, after, top=last_seqs[-1]))).status is WriteStatus.OK


@pytest.mark.parametrize(("after", "last_seqs"), [(-1, [1, 3, 6, 7]), (0, [1, 3, 6, 7]), (1, [3, 6, 7]), (4, [6, 7]),
                                             (6, [7]), (7, [])])  # fmt: skip
async def test_finished_log_from_any_position(
    store: Store, subscriber: LogSubscriber, after: int, last_seqs: list[int]
) -> None:
    await store.create(new())
    await write(store, [3, 6, 7])
    assert [last_seq for _, last_seq in await everything(subscriber, after)] == last_seqs


async def test_log_longer_than_a_page_is_read_to_its_end(store: Store, subscriber: LogSubscriber) -> None:
    await store.create(new())
    await write(store, list(range(2, 40)))
    assert [last_seq for _, last_seq in await everything(subscriber, -1)] == list(range(1, 40))


@pytest.mark.parametrize("after", [8, 10**6])
async def test_position_above_a_finished_log_is_lost(store: Store, subscriber: LogSubscriber, after: int) -> None:
    await store.create(new())
    await write(store, [7])
    with pytest.raises(PositionLost) as caught:
        await everything(subscriber, after)
    assert (caught.value.status, caught.value.last_seq, caught.value.after) == (Status.COMPLETED, 7, after)


async def test_position_in_a_turn_that_is_gone_is_lost(store: Store, subscriber: LogSubscriber) -> None:
    with pytest.raises(PositionLost) as caught:
        await everything(subscriber, -1)
    assert caught.value.status is None


async def test_position_above_a_running_log_waits_for_it(store: Store) -> None:
    await store.create(new())
    policy = msgspec.structs.replace(SHORT, behind_seconds=PATIENCE)
    with patch.object(store, "read", wraps=store.read) as read:
        async with LogSubscriber(store, policy=policy) as subscriber:
            seen = asyncio.create_task(everything(subscriber, 3))
            await until(lambda: read.call_count, "the log was looked at")
            await write(store, [3, 5])
            assert await seen == [(3, 5)]


async def test_position_that_a_running_log_never_reaches_is_lost(store: Store, subscriber: LogSubscriber) -> None:
    await store.create(new())
    with pytest.raises(PositionLost) as caught:
        await everything(subscriber, 3)
    assert (caught.value.status, caught.value.last_seq) == (Status.IN_PROGRESS, 1)


async def test_position_inside_a_hole_is_lost_and_one_before_it_is_not(redis: RedisStore) -> None:
    """Numbers that a takeover skipped: whoever saw one of them cannot go on."""
    await redis.create(new())
    await redis.append([append(after=1, top=3)])
    await redis._client.call("HSET", redis._keys.turn("alice", "resp_1"), "top", 1003)
    await write_after_hole(redis)
    async with LogSubscriber(redis, policy=SHORT) as subscriber:
        assert [last_seq for _, last_seq in await everything(subscriber, -1)] == [1, 3, 1005]
        assert [last_seq for _, last_seq in await everything(subscriber, 3)] == [1005]
        assert [last_seq for _, last_seq in await everything(subscriber, 1003)] == [1005]
        for inside in (4, 500, 1002):
            with pytest.raises(PositionLost):
                await everything(subscriber, inside)


async def test_position_that_redis_lost_is_lost_after_a_takeover(redis: RedisStore) -> None:
    names = [redis._keys.turn("alice", "resp_1"), redis._keys.log("alice", "resp_1")]
    await redis.create(new())
    for name in names:
        await redis._client.call("COPY", name, name + "~")
    async with LogSubscriber(redis, policy=SHORT) as subscriber:
        seen: list[LogUpdate] = []
        at_three = asyncio.Event()

        async def follow() -> None:
            async for update in subscriber.subscribe(ref(), -1):
                seen.append(update)
                if not isinstance(update, LogNotice) and update[-1].last_seq == 3:
                    at_three.set()

        follower = asyncio.create_task(follow())
        await redis.append([append(after=1, top=3)])
        await at_three.wait()
        for name in names:
            await redis._client.call("RENAME", name + "~", name)
        await redis._client.call("HSET", names[0], "top", 1001)
        await redis.finish(ending(after=1001, top=1002))
        with pytest.raises(PositionLost):
            await follower
        assert [last_seq for _, last_seq in await everything(subscriber, 1)] == [1002]


async def write_after_hole(store: Store) -> None:
    assert (await store.finish(ending(after=1003, top=1005))).status is WriteStatus.OK


async def test_position_below_a_trimmed_log_is_lost(redis: RedisStore) -> None:
    await redis.create(new())
    await write(redis, [3, 5, 7])
    await redis._client.call("XTRIM", redis._keys.log("alice", "resp_1"), "MAXLEN", 2)
    async with LogSubscriber(redis, policy=SHORT) as subscriber:
        for after in (-1, 1, 2):
            with pytest.raises(PositionLost):
                await everything(subscriber, after)
        assert await everything(subscriber, 4) == [(3, 5), (5, 7)]


async def test_log_that_expired_is_lost(redis: RedisStore) -> None:
    await redis.create(new())
    await write(redis, [3])
    await redis._client.call("DEL", redis._keys.log("alice", "resp_1"))
    async with LogSubscriber(redis, policy=SHORT) as subscriber:
        with pytest.raises(PositionLost):
            await everything(subscriber, 1)
        assert await everything(subscriber, 3) == []


async def test_no_gap_and_no_repeat_from_random_positions_at_random_instants(
    store: Store, subscriber: LogSubscriber
) -> None:
    """What is stored and what comes live overlap."""
    await store.create(new())
    chance = random.Random(7)
    last_seqs = sorted(chance.sample(range(2, 400), 120))
    followers: list[tuple[int, asyncio.Task[list[tuple[int, int]]]]] = []
    after = 1
    for last_seq in last_seqs[:-1]:
        for _ in range(chance.randrange(3)):
            start = chance.randint(-1, after)
            followers.append((start, asyncio.create_task(everything(subscriber, start))))
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.004)))
        await store.append([append(after=after, top=last_seq)])
        after = last_seq
    await store.finish(ending(after=after, top=last_seqs[-1]))
    whole = [(-1, 1), *zip([1, *last_seqs], last_seqs, strict=False)]
    for start, follower in followers:
        assert await follower == [(low, last_seq) for low, last_seq in whole if last_seq > start]


async def test_many_turns_are_followed_at_once(store: Store, subscriber: LogSubscriber) -> None:
    ids = [f"resp_{n}" for n in range(30)]
    for id in ids:
        await store.create(new(id))
    seen = [asyncio.create_task(everything(subscriber, -1, id)) for id in ids]
    await until(lambda: all(waiting(subscriber, id) == 1 for id in ids), "all are followed")
    await asyncio.gather(*(write(store, [3, 5, 9], id) for id in ids))
    assert await asyncio.gather(*seen) == [[(-1, 1), (1, 3), (3, 5), (5, 9)]] * 30


async def test_subscription_from_below_does_not_take_the_mirror_from_one_at_the_tip(
    store: Store, subscriber: LogSubscriber
) -> None:
    await store.create(new())
    await store.append([append(after=1, top=5)])
    tip = asyncio.create_task(everything(subscriber, 5))
    await until(lambda: waiting(subscriber) == 1, "one waits at the tip")
    below = asyncio.create_task(everything(subscriber, 1))
    await until(lambda: waiting(subscriber) == 2, "the other has come up to it")
    await store.append([append(after=5, top=6)])
    await store.finish(ending(after=6))
    assert await tip == [(5, 6), (6, 7)]
    assert await below == [(1, 5), (5, 6), (6, 7)]


async def test_late_answer_to_an_older_mirrors_read_makes_no_gap(store: Store, subscriber: LogSubscriber) -> None:
    await store.create(new())
    await store.append([append(after=1, top=3)])
    await store.append([append(after=3, top=5)])
    tailer = subscriber._tailer(ref())
    mirror = tailer.follow(ref(), 1, ())
    tailer._deliver({ref(): 3}, {ref(): (await store.read(ref(), 3, 9)).entries})
    assert mirror.last_seq == 1
    tailer._deliver({ref(): 1}, {ref(): (await store.read(ref(), 1, 9)).entries})
    assert mirror.last_seq == 5


async def test_mirror_that_lacks_what_the_log_has_is_given_up(store: Store, subscriber: LogSubscriber) -> None:
    await store.create(new())
    await store.append([append(after=1, top=3)])
    await store.append([append(after=3, top=5)])
    mirror = subscriber._tailer(ref()).follow(ref(), 1, (await store.read(ref(), 3, 9)).entries)
    seen = asyncio.create_task(everything(subscriber, 1))
    await until(lambda: mirror.closed, "the mirror is given up")
    await store.finish(ending(after=5))
    assert await seen == [(1, 3), (3, 5), (5, 6)]
    assert mirror.closed


async def test_turn_that_vanishes_while_it_is_followed_is_lost(store: Store, subscriber: LogSubscriber) -> None:
    await store.create(new())
    seen = asyncio.create_task(everything(subscriber, 1))
    await until(lambda: waiting(subscriber) == 1, "the log is followed")
    await store.delete(ref())
    with pytest.raises(PositionLost) as caught:
        await asyncio.wait_for(seen, PATIENCE)
    assert caught.value.status is None


async def test_cancelled_and_abandoned_subscriptions_leave_nothing(store: Store, subscriber: LogSubscriber) -> None:
    await store.create(new())
    await cancelled(subscriber)
    async for _ in subscriber.subscribe(ref(), -1):
        break
    gc.collect()
    await until(lambda: mirrored(subscriber) is None, "nobody holds the mirror")
    assert [tailer._positions() for tailer in subscriber._tailers.values()] == [{}]


async def cancelled(subscriber: LogSubscriber) -> None:
    seen = [asyncio.create_task(everything(subscriber, 1)) for _ in range(20)]
    await until(lambda: waiting(subscriber) == 20, "all follow")
    assert [tailer._positions() for tailer in subscriber._tailers.values()] == [{ref(): 1}]
    for task in seen:
        task.cancel()
    await asyncio.gather(*seen, return_exceptions=True)


async def test_local_turn_is_read_from_memory_and_goes_on_elsewhere_when_it_is_fenced(store: Store) -> None:
    async with Journal(store) as journal, LogSubscriber(store, journal, policy=SHORT) as subscriber:
        await store.create(new())
        writer = journal.open_writer(claimed())
        seen = asyncio.create_task(everything(subscriber, -1))
        writer.append([Event(Kind.TEXT, "a")])
        await writer.flush()
        await store.claim(ref(), MINE, "node-b")
        writer.append([Event(Kind.TEXT, "never")])
        mine = Lease(2, "node-b")
        await store.append([append(after=2, top=4, lease=mine)])
        await store.finish(ending(after=4, top=5, lease=mine))
        assert await seen == [(-1, 1), (1, 2), (2, 4), (4, 5)]


async def test_remote_turn_that_is_claimed_here_is_read_from_memory(store: Store) -> None:
    async with Journal(store) as journal, LogSubscriber(store, journal, policy=SHORT) as subscriber:
        await store.create(new())
        seen = asyncio.create_task(everything(subscriber, -1))
        await until(lambda: waiting(subscriber) == 1, "the log is followed")
        outcome = await store.claim(ref(), MINE, "node-b")
        assert outcome.lease is not None
        writer = journal.open_writer(claimed(lease=outcome.lease, entries=(await store.read(ref(), -1, 99)).entries))
        for _ in range(5):
            writer.append([Event(Kind.TEXT, "a")])
            await writer.flush()
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        assert await seen == [(-1, 1), *((n, n + 1) for n in range(1, 7))]


async def test_position_above_a_local_log_waits_then_is_lost(store: Store) -> None:
    async with Journal(store) as journal, LogSubscriber(store, journal, policy=SHORT) as subscriber:
        await store.create(new())
        writer = journal.open_writer(claimed())
        seen = asyncio.create_task(everything(subscriber, 2))
        with pytest.raises(PositionLost):
            await everything(subscriber, 5)
        assert isinstance((await asyncio.gather(seen, return_exceptions=True))[0], PositionLost)
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        assert await everything(subscriber, 2) == []
        with pytest.raises(PositionLost):
            await everything(subscriber, 3)


async def test_subscription_to_a_local_turn_is_told_of_a_stall(store: Store) -> None:
    faulty = Faulty(store)
    async with (
        Journal(faulty, policy=CommitPolicy(stall_seconds=0.02)) as journal,
        LogSubscriber(store, journal, policy=SHORT) as subscriber,
    ):
        await store.create(new())
        writer = journal.open_writer(claimed())
        faulty.gate.clear()
        writer.append([Event(Kind.TEXT, "a")])
        seen: list[LogUpdate] = []
        async for update in subscriber.subscribe(ref(), 1):
            seen.append(update)
            if update is LogNotice.STALLED:
                faulty.gate.set()
            if not isinstance(update, LogNotice):
                break
        assert seen[0] is LogNotice.STALLED
        assert cast("list[LogEntry]", seen[-1])[-1].last_seq == 2


async def test_subscriber_that_is_closed_twice_ends_its_tasks() -> None:
    store = MemoryStore()
    await store.create(new())
    subscriber = LogSubscriber(store, policy=SHORT)
    seen = asyncio.create_task(everything(subscriber, 1))
    await until(lambda: waiting(subscriber) == 1, "the log is followed")
    seen.cancel()
    await asyncio.gather(seen, return_exceptions=True)
    await subscriber.close()
    await subscriber.close()


async def test_answer_that_makes_no_sense_loses_one_turn() -> None:
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
    async with LogSubscriber(store, policy=SHORT) as subscriber:
        for id in ("bad", "good"):
            await store.create(new(id))
            await store.append([append(id)])
        seen = [asyncio.create_task(everything(subscriber, 1, id)) for id in ("bad", "good")]
        await until(seen[0].done, "the bad one is given up")
        await store.finish(ending("good", 2))
        with pytest.raises(PositionLost):
            await seen[0]
        assert await seen[1] == [(1, 2), (2, 3)]
