"""Redis behind Sentinel: the master is another server after a failover, and writers go on there."""

import asyncio
from collections.abc import Iterator

import pytest

from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.log.subscriber import LogSubscriber
from server.store.errors import StoreDown, StoreError
from server.store.redis.routed import parse_servers
from server.store.redis.sentinel import split_servers
from server.store.redis.store import RedisStore, connect
from server.store.types import WriteStatus
from tests.redis_cluster import Watched, wait_for, watched
from tests.redis_server import Listening, binary
from tests.server.log.stalls import stall_changes
from tests.server.log.test_subscriber import SHORT
from tests.server.store.make import append, new, ref
from tests.server.store.story import viewed, written
from tests.waiting import until

WHO = ("SENTINEL GET-MASTER-ADDR-BY-NAME", "tl")
QUICK = CommitPolicy(first_retry=0.01, max_retry=0.05, stall_seconds=0.05)


@pytest.fixture
def pair() -> Iterator[Watched]:
    with watched(binary("redis7")) as pair:
        yield pair


def test_sentinels_have_a_password_of_their_own() -> None:
    given = parse_servers("rediss+sentinel://u:p%40@a,[::1],b:1/tl/2?sentinel_password=s/s&ssl_cert_reqs=none", 26379)
    asked, named = split_servers(given)
    assert [asked.url_of(host) for host in asked.hosts] == [
        f"rediss://:s%2Fs@{host}?ssl_cert_reqs=none" for host in ("a:26379", "[::1]:26379", "b:1")
    ]
    assert named.url_of("c:1", "/2") == "rediss://u:p%40@c:1/2?ssl_cert_reqs=none"


@pytest.mark.redis
async def test_master_is_found_and_described(pair: Watched) -> None:
    store = connect(pair.url)
    await store.check()
    assert store.description == f"the master 127.0.0.1:{pair.master.port} that its sentinels name"
    await store.create(new())
    assert pair.master.admin.dbsize() > 0
    await store.close()
    with pytest.raises(StoreDown, match="was closed"):
        await store.turn(ref())


@pytest.mark.redis
async def test_master_that_no_sentinel_names_is_down(pair: Watched) -> None:
    for url, words in (
        (pair.url.replace("/tl", "/other"), "no sentinel names a master 'other'"),
        ("redis+sentinel://:secret@127.0.0.1:1/tl", r"127\.0\.0\.1:1"),
    ):
        store = connect(url)
        with pytest.raises(StoreDown, match=words) as caught:
            await store.check()
        assert "secret" not in str(caught.value)
        await store.close()


@pytest.mark.redis
async def test_wrong_kind_of_address_is_named(pair: Watched) -> None:
    store = connect(pair.sentinel.url)
    with pytest.raises(StoreError, match=r"'sentinel'; its address begins with redis\+sentinel://"):
        await store.check()
    await store.close()
    store = connect(f"redis+sentinel://127.0.0.1:{pair.master.port}/tl")
    with pytest.raises(StoreError, match="unknown command"):
        await store.check()
    await store.close()


@pytest.mark.redis
async def test_writer_and_viewer_go_on_when_the_master_is_lost(pair: Watched) -> None:
    store, elsewhere = connect(pair.url, timeout=0.5), connect(pair.url, timeout=0.5)
    await store.create(new())
    async with (
        Journal(store, policy=QUICK) as journal,
        stall_changes(journal) as changes,
        LogSubscriber(elsewhere, policy=SHORT) as subscriber,
    ):
        seen = asyncio.create_task(viewed(subscriber, ref()))
        entries = await written(journal, store, asyncio.create_task(_lose(pair)))
        assert (await seen)[0] == entries
    assert changes[:2] == [True, False]
    await store.check()
    assert store.description == f"the master 127.0.0.1:{pair.replica.port} that its sentinels name"
    for each in (store, elsewhere):
        await each.close()


async def _lose(pair: Watched) -> None:
    await asyncio.sleep(0.2)
    pair.master.kill()
    await until(lambda: _is_master(pair.replica), "the replica was promoted")


def _is_master(server: Listening) -> bool:
    return bool(server.admin.info("replication")["role"] == "master")


@pytest.mark.redis
async def test_writer_leaves_a_master_that_was_replaced_by_hand(pair: Watched) -> None:
    """It still takes writes: only the sentinels know."""
    store = connect(pair.url)
    await store.create(new())
    async with Journal(store, policy=QUICK) as journal:
        entries = await written(journal, store, asyncio.create_task(_replace(pair, store)))
        assert _is_master(pair.master)
        assert pair.replica.admin.xlen(store._keys.log("alice", "resp_1")) == len(entries)
    await store.close()


async def _replace(pair: Watched, store: RedisStore) -> None:
    await asyncio.to_thread(pair.sentinel.ask, "SENTINEL", "FAILOVER", "tl")
    await until(lambda: store.description.count(f":{pair.replica.port} "), "the other master was found")


@pytest.mark.redis
async def test_master_stays_when_its_sentinels_are_gone(pair: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.redis.sentinel.MASTER_MAX_AGE_S", 0.0)
    store = connect(pair.url)
    await store.create(new())
    pair.sentinel.kill()
    async with Journal(store, policy=QUICK) as journal:
        assert len(await written(journal, store, asyncio.create_task(asyncio.sleep(0.3)))) > 2
    await store.close()


@pytest.mark.redis
async def test_sentinels_are_asked_again_when_the_master_has_become_a_replica(
    pair: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.redis.sentinel.MASTER_MAX_AGE_S", 600.0)
    store = connect(pair.url)
    await store.create(new())
    await asyncio.to_thread(pair.sentinel.ask, "SENTINEL", "FAILOVER", "tl")
    await until(lambda: _is_master(pair.replica), "the replica was promoted")
    await asyncio.to_thread(pair.master.ask, "REPLICAOF", "127.0.0.1", pair.replica.port)
    with pytest.raises(StoreDown, match="read only"):
        await store.append([append()])
    await asyncio.to_thread(wait_for, lambda: pair.sentinel.ask(*WHO)[1] == pair.replica.port, "the new master's name")
    assert (await store.append([append()]))[0].status is WriteStatus.OK
    assert pair.replica.admin.hget(store._keys.turn("alice", "resp_1"), "top") == b"2"
    await store.close()
