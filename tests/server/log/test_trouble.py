"""What Redis may do to a writer and to subscribers on other nodes: the log has every number once, and they see it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from server.log.committer import CommitPolicy
from server.log.journal import Journal, LogLost
from server.log.subscriber import LogNotice, LogSubscriber
from server.protocol.entry import Event, Kind
from server.store.errors import StoreDown, StoreError, StoreFull
from server.store.redis.client import Client
from server.store.redis.store import MAX_BLOCKING_CONNECTIONS, MAX_CALL_CONNECTIONS, RedisStore, connect
from server.store.types import WriteStatus
from tests.redis_server import Listening, Server, binary, listening
from tests.server.log.stalls import stall_changes
from tests.server.log.test_subscriber import SHORT
from tests.server.store.make import ALICE, append, claimed, ending, new, ref
from tests.server.store.story import begun, ended, viewed, written
from tests.waiting import until

pytestmark = pytest.mark.redis
PATIENT = msgspec.structs.replace(SHORT, quiet_seconds=20.0)  # longer than any trouble here
QUICK = CommitPolicy(first_retry=0.01, max_retry=0.05, stall_seconds=0.1)
Call = Callable[..., Awaitable[object]]


@asynccontextmanager
async def admin(server: Server) -> AsyncIterator[Client]:
    """A connection of the test's own."""
    client = Client(server.url, timeout=10, limit=1)
    yield client
    await client.close()


async def paused(call: Call, server: Server, seconds: float) -> None:
    await asyncio.sleep(0.1)
    await call("CLIENT", "PAUSE", int(seconds * 1000))
    await asyncio.sleep(seconds)


async def kill_connections(call: Call, server: Server) -> None:
    for _ in range(10):
        await asyncio.sleep(0.2)
        await call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def forget_scripts(call: Call, server: Server) -> None:
    for _ in range(20):
        await asyncio.sleep(0.02)
        await call("SCRIPT", "FLUSH")


async def be_a_replica(call: Call, server: Server) -> None:
    await asyncio.sleep(0.1)
    await call("REPLICAOF", "127.0.0.1", 1)
    await asyncio.sleep(0.5)
    await call("REPLICAOF", "NO", "ONE")


async def be_full(call: Call, server: Server) -> None:
    await asyncio.sleep(0.1)
    await call("CONFIG", "SET", "maxmemory", 1)
    store = connect(server.url)
    with pytest.raises(StoreFull):
        await store.create(new("refused"))
    await asyncio.sleep(0.5)
    await call("CONFIG", "SET", "maxmemory", 0)
    assert await store.turn(ref("refused")) is None
    await store.close()


async def load_for_long(call: Call, server: Server) -> None:
    """It answers that it is loading, from time to time, and else not at all."""
    for n in range(4000):
        await call("SET", f"ballast {n}", "x" * 50, "EX", 60)
    server.kill()
    server.launch()
    told: set[str] = set()
    store = connect(server.url, timeout=2.0)
    while "loading" not in "".join(told):
        with pytest.raises(StoreDown) as caught:
            await store.check()
        told.add(str(caught.value))
        await asyncio.sleep(0.01)
    await store.close()


TROUBLE: dict[str, tuple[Callable[[Call, Server], Awaitable[None]], bool]] = {
    "paused for 1 s": (lambda call, server: paused(call, server, 1), True),
    "paused for 3 s": (lambda call, server: paused(call, server, 3), True),
    "connections killed": (kill_connections, False),
    "scripts forgotten": (forget_scripts, False),
    "read only": (be_a_replica, True),
    "full": (be_full, True),
    "loading": (load_for_long, True),
}


@pytest.mark.parametrize("name", TROUBLE)
async def test_writer_and_subscribers_go_on(own: Server, name: str) -> None:
    disturb, stalls = TROUBLE[name]
    store, elsewhere = connect(own.url, timeout=0.5), connect(own.url, timeout=0.5)
    await store.create(new(idempotency_key="k"))
    async with (
        admin(own) as client,
        Journal(store, policy=QUICK) as journal,
        stall_changes(journal) as changes,
        LogSubscriber(store, journal, policy=PATIENT) as here,
        LogSubscriber(elsewhere, policy=PATIENT) as there,
    ):
        seen = [asyncio.create_task(viewed(subscriber, ref())) for subscriber in (here, there)]
        entries = await written(journal, store, asyncio.ensure_future(disturb(client.call, own)))
        views = await asyncio.gather(*seen)
        assert [view for view, _ in views] == [entries, entries]
        if stalls:
            assert changes[:2] == [True, False]
            assert views[0][1][:2] == [LogNotice.STALLED, LogNotice.FLOWING]
        await lasting(client, 7)
    for each in (store, elsewhere):
        await each.close()


async def lasting(client: Client, most: int) -> None:
    """No connection too many, and no key for ever."""
    assert len((await client.call("CLIENT", "LIST")).splitlines()) <= most
    for key in await client.call("KEYS", "*"):
        assert await client.call("PTTL", key) > 0, key


async def test_wrong_type_at_our_key_ends_its_turn_and_no_other(redis: RedisStore) -> None:
    async with Journal(redis, policy=QUICK) as journal:
        for id in ("resp_1", "b"):
            await redis.create(new(id))
        writer = begun(journal)
        await redis._client.call("DEL", redis._keys.turn(ALICE, "b"))
        await redis._client.call("SET", redis._keys.turn(ALICE, "b"), "no hash", "EX", 60)
        broken = journal.open_writer(claimed("b", writer.lease, entries=[]))
        for each in (writer, broken):
            each.append([Event(Kind.TEXT, "x")])
        with pytest.raises(LogLost):
            await broken.flush()
        assert len(await ended(redis, writer)) == 3


async def test_many_subscriptions_to_many_turns_block_one_connection(redis: RedisStore) -> None:
    names = [f"resp_{n}" for n in range(50)]
    for name in names:
        await redis.create(new(name))
    async with LogSubscriber(redis, policy=SHORT) as subscriber:
        seen = [asyncio.create_task(viewed(subscriber, ref(name))) for name in names for _ in range(20)]
        await until(lambda: subscriber._tailers and len(subscriber._tailers[0]._positions()) == 50, "all are followed")
        listed = (await redis._client.call("CLIENT", "LIST")).decode().splitlines()
        assert sum("cmd=xread" in line for line in listed) <= 1
        assert len(listed) <= MAX_CALL_CONNECTIONS + 3
        await asyncio.gather(*(redis.finish(ending(name)) for name in names))
        assert {len(entries) for entries, _ in await asyncio.gather(*seen)} == {2}


# -- cancelled at every step -------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[RedisStore], Awaitable[object]]] = {
    "create": lambda store: store.create(new()),
    "append": lambda store: store.append([append()]),
    "follow": lambda store: store.follow({ref(): -1}, 50),
    "turn": lambda store: store.turn(ref()),
}


@pytest.mark.parametrize("fresh", [True, False], ids=["connecting", "connected"])
@pytest.mark.parametrize("name", STEPS)
async def test_call_cancelled_at_any_step_leaves_the_pool_as_it_was(single: Listening, name: str, fresh: bool) -> None:
    single.admin.flushall()
    store = connect(single.url)
    await store.create(new())
    before = single.admin.info("clients")["connected_clients"]
    steps = 0
    while not await cancelled_after(steps, store, name):
        steps += 1
        assert (await store.turn(ref())) is not None
        if fresh:
            await store.close()
            store = connect(single.url)
    assert steps > 2
    for pool, limit in ((store._client, MAX_CALL_CONNECTIONS), (store._blocking._client, MAX_BLOCKING_CONNECTIONS)):
        assert isinstance(pool, Client)
        assert (len(pool._lent), pool._free._value) == (0, limit)
    await store.close()
    await until(lambda: single.admin.info("clients")["connected_clients"] <= before, "all connections are closed")


async def cancelled_after(steps: int, store: RedisStore, name: str) -> bool:
    """Whether a call was over before it was cancelled, so many steps of the loop after it began."""
    task = asyncio.ensure_future(STEPS[name](store))
    for _ in range(steps):
        await asyncio.sleep(0)
    over = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return over


# -- at start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "words"),
    [("", "Authentication required"), (":secret@", "invalid username-password"), ("eve:secret@", "invalid username")],
)
async def test_password_that_is_missing_or_wrong_is_named_and_not_shown(login: str, words: str) -> None:
    with listening(binary("redis7")) as server:
        server.admin.config_set("requirepass", "right")
        store = connect(f"redis://{login}127.0.0.1:{server.port}")
        with pytest.raises(StoreError, match=words) as caught:
            await store.check()
        assert f"127.0.0.1:{server.port}" in str(caught.value)
        assert "secret" not in str(caught.value)
        await store.close()
        right = connect(f"redis://:right@127.0.0.1:{server.port}")
        await right.check()
        assert (await right.append([append()]))[0].status is WriteStatus.LOST
        await right.close()
