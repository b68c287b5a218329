"""What only real Redis can do: expire, stall, refuse, forget scripts, die."""

import asyncio
import re
import signal

import pytest

from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.log.subscriber import LogSubscriber
from server.store.errors import PositionLost, StoreDown, StoreError, StoreFull
from server.store.redis.keys import Lifetimes
from server.store.redis.store import RedisStore, connect
from server.store.types import Checkpoint, Conversation, Ticket, WriteStatus
from tests.redis_server import Server
from tests.server.log.stalls import stall_changes
from tests.server.log.test_subscriber import SHORT, everything, waiting
from tests.server.store.make import ALICE, append, ending, item, new, ref
from tests.server.store.story import written
from tests.waiting import until

# -- lifetimes ---------------------------------------------------------------------------------------------------


async def ttl(store: RedisStore, key: str) -> int:
    return int(await store._client.call("TTL", key))


@pytest.mark.parametrize(("kept", "log", "response"), [(True, 900, 30 * 86_400), (False, 60, 60)])
async def test_lifetimes_after_the_end(redis: RedisStore, kept: bool, log: int, response: int) -> None:
    keys = redis._keys
    await redis.create(new(kept=kept, idempotency_key="k"))
    for key in (keys.turn(ALICE, "resp_1"), keys.log(ALICE, "resp_1"), keys.idempotency(ALICE, "k")):
        assert await ttl(redis, key) == pytest.approx(30 * 86_400, abs=2)
    await redis.finish(ending())
    for key in (keys.turn(ALICE, "resp_1"), keys.log(ALICE, "resp_1")):
        assert await ttl(redis, key) == pytest.approx(log, abs=2)
    for key in (keys.response(ALICE, "resp_1"), keys.idempotency(ALICE, "k")):
        assert await ttl(redis, key) == pytest.approx(response, abs=2)


async def test_turn_that_ended_expires_and_its_response_stays(server: Server) -> None:
    store = connect(server.url, Lifetimes(log=1))
    await store._client.call("FLUSHALL")
    await store.create(new(input=(item("x"),)))
    await store.finish(ending())
    await asyncio.sleep(1.1)
    assert await store.turn(ref()) is None
    assert (await store.read(ref(), -1, 9)).status is None
    stored = await store.response(ref())
    assert stored is not None
    assert await store.input_items(ref()) == [item("x").json]
    await store.close()


async def test_listing_unfinished_turns_renews_them(redis: RedisStore) -> None:
    """Those that were renewed long ago."""
    keys = redis._keys
    await redis.create(new(idempotency_key="k"))
    names = (*keys.turn_and_log(ALICE, "resp_1"), keys.idempotency(ALICE, "k"), keys.unfinished(0))
    for name in names:
        assert await redis._client.call("EXPIRE", name, 60) == 1
    await redis._client.call("HSET", keys.turn(ALICE, "resp_1"), "renewed", 0)
    assert [turn.ref for turn in await redis.unfinished_turns(0)] == [ref()]
    for name in names:
        assert await ttl(redis, name) > 86_400
    assert (await redis.append([append()]))[0].status is WriteStatus.OK


async def test_reading_a_history_renews_it(redis: RedisStore) -> None:
    await redis.create(new("a", input=(item("x"),)))
    await redis.finish(ending("a", 1, "y"))
    stored = await redis.response(ref("a"))
    assert stored is not None
    assert stored.checkpoint is not None
    names = (redis._keys.segment(ALICE, "a"), redis._keys.items(ALICE, "a"))
    for key in names:
        await redis._client.call("EXPIRE", key, 5)
    await redis.history(ALICE, stored.checkpoint)
    for key in names:
        assert await ttl(redis, key) > 86_400


async def test_listing_unfinished_turns_renews_what_they_continue(redis: RedisStore) -> None:
    await redis.create(new("a", input=(item("x"),)))
    await redis.finish(ending("a", 1, "y"))
    await redis.create(new("b", parent=Checkpoint("a", 0), input=(item("z"),)))
    await redis.finish(ending("b", 1, "z!"))
    await redis.create(new("c", parent=Checkpoint("b", 1)))
    await redis._client.call("HSET", redis._keys.turn(ALICE, "c"), "renewed", 0)
    names = [make(ALICE, id) for make in (redis._keys.segment, redis._keys.items) for id in "ab"]
    for key in names:
        await redis._client.call("EXPIRE", key, 5)
    await redis.unfinished_turns(0)
    for key in names:
        assert await ttl(redis, key) > 86_400


async def test_key_names_show_neither_caller_nor_idempotency_key_nor_ticket(redis: RedisStore) -> None:
    await redis.create(new(caller="canary@example.com", idempotency_key="canary-key"))
    await redis.put_ticket("canary-ticket", Ticket(ALICE, "canary-proof"), 60)
    for key in await redis._client.call("KEYS", "*"):
        assert b"canary" not in key


async def test_tickets_are_shared_with_the_release_before(redis: RedisStore) -> None:
    """It has the caller alone, in a key that both read."""
    key = redis._keys.ticket("t")
    await redis._client.call("SET", key, ALICE, "EX", 60)
    assert await redis.take_ticket("t") == Ticket(ALICE, "")
    await redis.put_ticket("t", Ticket(ALICE, "proof"), 60)
    assert await redis._client.call("GETDEL", key) == ALICE.encode()
    assert await redis.take_ticket("t") is None


# -- the list of conversations ---------------------------------------------------------------------------------------


async def expired(redis: RedisStore, *ids: str) -> None:
    """These conversations have expired: their keys are gone, and nobody was told."""
    for id in ids:
        for make in (redis._keys.conversation, redis._keys.items, redis._keys.positions):
            await redis._client.call("DEL", make(ALICE, id))


async def listed(redis: RedisStore) -> int:
    count: int = await redis._client.call("ZCARD", redis._keys.conversations(ALICE))
    return count


async def test_the_list_of_a_caller_who_never_lists_stays_bounded(redis: RedisStore) -> None:
    """Ten are in use, one of them from the beginning; a thousand others expire one after the other."""
    for n in range(10):
        await redis.create_conversation(ALICE, Conversation(f"kept_{n}", n, {}), [])
    largest = 0
    for n in range(1000):
        await redis.create_conversation(ALICE, Conversation(f"conv_{n}", 10 + n, {}), [])
        await expired(redis, f"conv_{n - 10}")
        largest = max(largest, await listed(redis))
    assert largest < 60
    found = await redis.conversations(ALICE, None, 100)
    assert [each.id for each in found.data] == [f"conv_{n}" for n in range(999, 989, -1)] + [
        f"kept_{n}" for n in range(9, -1, -1)
    ]
    assert await listed(redis) == 20


async def test_pages_are_whole_over_more_expired_ones_than_one_call_drops(redis: RedisStore) -> None:
    """As after a month in which one conversation was used, out of thousands."""
    names = [f"conv_{n:04}" for n in range(3500)]
    for at in range(0, len(names), 500):
        scored = [word for n in range(at, at + 500) for word in (n, names[n])]
        await redis._client.call("ZADD", redis._keys.conversations(ALICE), *scored)
    await redis._client.call("EXPIRE", redis._keys.conversations(ALICE), 600)
    for n in (0, 1, 1700, 3499):
        await redis.create_conversation(ALICE, Conversation(names[n], n, {}), [])
    first = await redis.conversations(ALICE, None, 2)
    assert ([each.id for each in first.data], first.more) == (["conv_3499", "conv_1700"], True)
    second = await redis.conversations(ALICE, "conv_1700", 2)
    assert ([each.id for each in second.data], second.more) == (["conv_0001", "conv_0000"], False)
    assert await listed(redis) == 4


async def test_a_page_behind_a_conversation_that_expired_since(redis: RedisStore) -> None:
    for n in range(5):
        await redis.create_conversation(ALICE, Conversation(f"conv_{n}", n, {}), [])
    await expired(redis, "conv_3", "conv_2")
    found = await redis.conversations(ALICE, "conv_3", 5)
    assert ([each.id for each in found.data], found.more) == (["conv_1", "conv_0"], False)


# -- refusals ----------------------------------------------------------------------------------------------------


async def test_key_of_another_type_breaks_one_turn_of_a_batch(redis: RedisStore) -> None:
    for id in "abc":
        await redis.create(new(id))
    key = redis._keys.log(ALICE, "b")
    await redis._client.call("DEL", key)
    await redis._client.call("SET", key, "not a stream", "EX", 60)
    results = await redis.append([append(id) for id in "abc"])
    assert [result.status for result in results] == [WriteStatus.OK, WriteStatus.BROKEN, WriteStatus.OK]


async def test_append_without_a_log_is_lost(redis: RedisStore) -> None:
    await redis.create(new())
    await redis._client.call("DEL", redis._keys.log(ALICE, "resp_1"))
    assert (await redis.append([append()]))[0].status is WriteStatus.LOST
    assert (await redis.finish(ending())).status is WriteStatus.LOST


async def test_key_of_another_type_loses_one_viewer(redis: RedisStore) -> None:
    async with LogSubscriber(redis, policy=SHORT) as subscriber:
        for id in ("a", "b"):
            await redis.create(new(id))
        seen = [asyncio.create_task(everything(subscriber, 1, id)) for id in ("a", "b")]
        await until(lambda: all(waiting(subscriber, id) == 1 for id in ("a", "b")), "both are followed")
        key = redis._keys.log(ALICE, "a")
        await redis._client.call("DEL", key)
        await redis._client.call("SET", key, "not a stream", "EX", 60)
        await until(seen[0].done, "the one is given up")
        await redis.finish(ending("b"))
        with pytest.raises(PositionLost):
            await seen[0]
        assert await seen[1] == [(1, 2)]


async def test_full_redis_refuses_writes_until_it_has_room(own: Server) -> None:
    store = connect(own.url)
    await store.create(new())
    await store._client.call("CONFIG", "SET", "maxmemory", 1)
    for attempt in (store.append([append()]), store.finish(ending()), store.create(new("b"))):
        with pytest.raises(StoreFull, match=r"unix:///tmp/"):
            await attempt
    await store._client.call("CONFIG", "SET", "maxmemory", 0)
    assert (await store.append([append()]))[0].status is WriteStatus.OK
    assert await store.turn(ref("b")) is None
    await store.close()


async def test_read_only_replica_is_down(own: Server) -> None:
    store = connect(own.url)
    await store.create(new())
    await store._client.call("REPLICAOF", "127.0.0.1", 1)
    for attempt in (store.append([append()]), store.finish(ending()), store.create(new("b"))):
        with pytest.raises(StoreDown):
            await attempt
    await store._client.call("REPLICAOF", "NO", "ONE")
    assert (await store.append([append()]))[0].status is WriteStatus.OK
    await store.close()


async def test_evicting_redis_is_refused(own: Server) -> None:
    store = connect(own.url)
    await store._client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match="noeviction"):
        await store.check()
    await store.close()


@pytest.mark.parametrize(
    "url", ["http://localhost", "redis+raft://localhost", "redis+cluster://", "redis+sentinel://h"]
)
def test_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match=re.escape(url.partition("//")[0])):
        connect(url)


# -- stalls and losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["redis://user:secret@127.0.0.1:1/0", "unix:///nowhere/s?password=secret"])
async def test_unreachable_redis_is_named_without_its_password(url: str) -> None:
    store = connect(url)
    with pytest.raises(StoreDown) as caught:
        await store.check()
    assert "127.0.0.1:1" in str(caught.value) or "/nowhere/s" in str(caught.value)
    assert "secret" not in str(caught.value)
    await store.close()


async def test_stalled_redis_is_down_in_time_and_repeats_are_applied_once(own: Server) -> None:
    impatient, store = connect(own.url, timeout=0.2), connect(own.url, timeout=30.0)
    await store.create(new())
    own.signal(signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(StoreDown, match=r"0\.2 s"):
            await impatient.append([append()])
    own.signal(signal.SIGCONT)
    assert (await store.append([append()]))[0].status in (WriteStatus.OK, WriteStatus.DUPLICATE)
    assert len((await store.read(ref(), -1, 9)).entries) == 2
    for each in (impatient, store):
        await each.close()


async def test_stalled_redis_loses_and_repeats_no_entry(own: Server) -> None:
    store, viewer = connect(own.url, timeout=0.2), connect(own.url, timeout=0.2)
    await store.create(new())

    async def stall() -> None:
        for _ in range(2):
            await asyncio.sleep(0.1)
            own.signal(signal.SIGSTOP)
            await asyncio.sleep(0.6)
            own.signal(signal.SIGCONT)

    async with (
        Journal(store) as journal,
        stall_changes(journal) as changes,
        LogSubscriber(viewer, policy=SHORT) as subscriber,
    ):
        seen = asyncio.create_task(everything(subscriber, -1))
        entries = await written(journal, store, asyncio.create_task(stall()))
        assert len(await seen) == len(entries)
    assert changes[:2] == [True, False]
    await store.close()
    await viewer.close()


async def test_restarted_redis_loses_and_repeats_no_entry_that_was_on_disk(own: Server) -> None:
    store, viewer = connect(own.url, timeout=0.2), connect(own.url, timeout=0.2)
    await store.create(new())

    async def restart() -> None:
        await asyncio.sleep(0.1)
        own.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own.start)

    async with (
        Journal(store, policy=CommitPolicy(stall_seconds=0.05)) as journal,
        LogSubscriber(viewer, policy=SHORT) as subscriber,
    ):
        seen = asyncio.create_task(everything(subscriber, -1))
        entries = await written(journal, store, asyncio.create_task(restart()))
        assert len(await seen) == len(entries)
    await store.close()
    await viewer.close()
