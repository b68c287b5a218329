"""Redis Cluster: a partition goes where its slot goes, and nobody else notices."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.log.subscriber import LogSubscriber
from server.store.errors import StoreDown, StoreError
from server.store.redis.cluster import ClusterClient, parse_slots
from server.store.redis.keys import Keys
from server.store.redis.store import RedisStore, connect
from server.store.types import Ticket, WriteStatus
from tests.redis_cluster import Masters, masters, replica
from tests.redis_server import Listening, Server, binary
from tests.server.log.test_subscriber import SHORT
from tests.server.store.conftest import emptied
from tests.server.store.make import ALICE, BOB, append, new, ref
from tests.server.store.story import viewed, written
from tests.waiting import until

pytestmark = pytest.mark.redis
KEYS = Keys(16)
QUICK = CommitPolicy(first_retry=0.01, max_retry=0.05, stall_seconds=0.05)


@pytest.fixture
def fragile() -> Iterator[Masters]:
    """A cluster that the test may break; it has kept what it acknowledged."""
    with masters(binary("redis7"), "--appendonly", "yes", "--appendfsync", "always") as cluster:
        yield cluster


@pytest.fixture
async def on(cluster: Masters) -> AsyncIterator[RedisStore]:
    async with emptied(cluster) as store:
        yield store


def key(caller: str) -> str:
    return KEYS.turn(caller, "resp_1")


def apart(cluster: Masters) -> list[str]:
    """A caller on each server."""
    found = {cluster.index(key(caller)): caller for caller in (f"caller {n}" for n in range(60))}
    return [found[index] for index in range(len(cluster.servers))]


# -- the map -----------------------------------------------------------------------------------------------------


def test_slots_are_parsed() -> None:
    answer = [
        [0, 1, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.2", 7001, b"id", []]],
        [3, 3, [b"::1", 7002, b"id"]],
        [4, 4, [None, 7003, b"id"]],
        [5, 5, [b"?", 7004, b"id"]],
    ]
    owners, known = parse_slots(answer, "asked:6379")
    assert owners == {0: "10.0.0.1:7000", 1: "10.0.0.1:7000", 3: "[::1]:7002", 4: "asked:7003", 5: "asked:7004"}
    assert known == {*owners.values(), "10.0.0.2:7001"}


async def test_every_partition_is_on_the_master_of_its_slot(cluster: Masters, on: RedisStore) -> None:
    callers = apart(cluster)
    for caller in callers:
        await on.create(new(caller=caller))
    assert [cluster.index(key(caller)) for caller in callers] == [0, 1, 2]
    for server, caller in zip(cluster.servers, callers, strict=True):
        assert server.admin.exists(key(caller)) == 1
    assert on.partitions == 16


@pytest.mark.parametrize("first", ["127.0.0.1:1", "localhost:1"])
async def test_one_host_that_answers_is_enough(cluster: Masters, first: str) -> None:
    store = connect(f"redis+cluster://{first},127.0.0.1:{cluster.servers[2].port}")
    await store.check()
    assert store.description == "a Redis Cluster of 3 masters"
    await store.close()


async def test_unreachable_cluster_is_named_without_its_password() -> None:
    store = connect("redis+cluster://user:secret@127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(StoreDown, match=r"127\.0\.0\.1:1.*127\.0\.0\.1:2|127\.0\.0\.1:2.*127\.0\.0\.1:1") as caught:
        await store.check()
    assert "secret" not in str(caught.value)
    await store.close()


async def test_wrong_kind_of_address_is_named(cluster: Masters, redis7: Server) -> None:
    store = connect(cluster.urls[0])
    with pytest.raises(StoreError, match=r"'cluster'; its address begins with redis\+cluster://"):
        await store.check()
    await store.close()
    with pytest.raises(StoreError, match="has none"):
        connect("redis+cluster://localhost/3")


async def test_redis_that_is_no_cluster_is_named(single: Listening) -> None:
    store = connect(f"redis+cluster://127.0.0.1:{single.port}")
    with pytest.raises(StoreError, match="cluster support disabled"):
        await store.check()
    await store.close()


async def test_call_after_close_is_refused(on: RedisStore) -> None:
    await on.create(new())
    await on.close()
    with pytest.raises(StoreDown, match="was closed"):
        await on.turn(ref())


async def test_wrong_slot_is_corrected_by_the_first_call(cluster: Masters, on: RedisStore) -> None:
    await on.create(new())
    client = on._client
    assert isinstance(client, ClusterClient)
    right = dict(client._owners)
    wrong = next(server for server in set(right.values()) if server != right[9974])
    client._owners = dict.fromkeys(right, wrong)
    assert (await on.append([append()]))[0].status is WriteStatus.OK
    assert await on.take_ticket("none") is None
    await on.put_ticket("t", Ticket(ALICE, "proof"), 60)
    assert await on.take_ticket("t") == Ticket(ALICE, "proof")
    assert client._owners[9974] == right[9974]


# -- a slot that moves -------------------------------------------------------------------------------------------


async def test_migrating_slot_stops_its_own_partition_until_it_has_arrived(cluster: Masters, on: RedisStore) -> None:
    """Half of a partition's keys are here and half there, for a while; then all are there."""
    viewer = connect(cluster.url)
    for caller in (ALICE, BOB):
        await on.create(new(caller=caller))
    for n in range(40):
        await on.create(new(f"other {n}"))
    source = cluster.index(key(ALICE))
    to = next(index for index in (0, 1, 2) if index not in (source, cluster.index(key(BOB))))
    async with Journal(on, policy=QUICK) as journal, LogSubscriber(viewer, policy=SHORT) as subscriber:
        seen = [asyncio.create_task(viewed(subscriber, ref(caller=caller))) for caller in (ALICE, BOB)]
        moving = asyncio.create_task(move(cluster, source, to))
        logs = await asyncio.gather(
            *(written(journal, on, moving, caller=caller, words=200) for caller in (ALICE, BOB))
        )
        views = await asyncio.gather(*seen)
    assert [entries for entries, _ in views] == list(logs)
    assert views[1][1] == []
    assert cluster.servers[to].admin.exists(key(ALICE)) == 1
    await viewer.close()


async def move(cluster: Masters, source: int, to: int) -> None:
    """Move Alice's slot, in the middle of her turn, a few keys at a time."""
    await asyncio.sleep(0.1)
    slot = await asyncio.to_thread(cluster.begin_move, key(ALICE), to)
    await asyncio.to_thread(carry_all, cluster, slot, source, to, 0.05)
    await asyncio.to_thread(cluster.end_move, slot, to)


def carry_all(cluster: Masters, slot: int, source: int, to: int, pause: float = 0.0) -> None:
    while names := cluster.keys(slot, source, 10):
        cluster.carry(source, to, *names)
        time.sleep(pause)


async def test_writes_fail_while_their_slot_migrates_and_other_partitions_go_on(
    cluster: Masters, on: RedisStore
) -> None:
    for caller in (ALICE, BOB):
        await on.create(new(caller=caller))
    source = cluster.index(key(ALICE))
    to = (source + 1) % 3
    slot = await asyncio.to_thread(cluster.begin_move, key(ALICE), to)
    await asyncio.to_thread(cluster.carry, source, to, key(ALICE))
    with pytest.raises(StoreDown):
        await on.append([append()])
    with pytest.raises(StoreDown):
        await on.create(new("b"))
    assert (await on.append([append(caller=BOB)]))[0].status is WriteStatus.OK
    await asyncio.to_thread(carry_all, cluster, slot, source, to)
    await asyncio.to_thread(cluster.end_move, slot, to)
    assert (await on.append([append()]))[0].status is WriteStatus.OK
    assert await on.turn(ref("b")) is None


# -- a master that is lost ---------------------------------------------------------------------------------------


async def test_lost_master_stops_its_own_partitions_and_comes_back(fragile: Masters) -> None:
    lost, *others = apart(fragile)
    store = connect(fragile.url, timeout=0.5)
    for caller in (lost, *others):
        await store.create(new(caller=caller))
    async with Journal(store, policy=QUICK) as journal, LogSubscriber(store, policy=SHORT) as subscriber:
        seen = asyncio.create_task(viewed(subscriber, ref(caller=lost)))
        back = asyncio.Event()
        stuck = asyncio.create_task(written(journal, store, asyncio.create_task(_lose(fragile, back)), caller=lost))
        await until(lambda: journal.stalled, "the loss was noticed")
        for caller in others:
            assert len(await written(journal, store, asyncio.create_task(asyncio.sleep(0)), caller=caller)) > 2
        assert journal.stalled
        await store.check()
        back.set()
        assert (await seen)[0] == await stuck
    await store.close()


async def _lose(fragile: Masters, back: asyncio.Event) -> None:
    await asyncio.sleep(0.1)
    fragile.servers[0].kill()
    await back.wait()
    await asyncio.to_thread(fragile.servers[0].start)


async def test_replica_takes_over_and_the_writer_goes_on(fragile: Masters) -> None:
    caller = apart(fragile)[0]
    with replica(binary("redis7"), fragile) as successor:
        store = connect(fragile.url, timeout=0.5)
        await store.create(new(caller=caller))
        async with Journal(store, policy=QUICK) as journal, LogSubscriber(store, policy=SHORT) as subscriber:
            seen = asyncio.create_task(viewed(subscriber, ref(caller=caller)))
            entries = await written(journal, store, asyncio.create_task(_fail(fragile, successor)), caller=caller)
            assert (await seen)[0] == entries
        await store.close()


async def _fail(fragile: Masters, successor: Listening) -> None:
    await asyncio.sleep(0.3)
    fragile.servers[0].kill()
    await until(lambda: successor.admin.info("replication")["role"] == "master", "the replica was promoted")
