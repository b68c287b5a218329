"""Calls to one Redis: pooled connections, scripts, errors."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.exceptions as theirs

from server.store.errors import StoreDown, StoreError, StoreFull
from server.store.redis.client import Client, translate
from server.store.redis.store import RedisStore, connect
from server.store.types import Ticket, WriteStatus
from tests.redis_server import Listening, Server
from tests.server.store.make import ALICE, add_conversation, append, item, new, ref
from tests.server.store.proxy import proxy


async def test_forgotten_scripts_are_sent_again(redis: RedisStore) -> None:
    await redis.create(new())
    await redis._client.call("SCRIPT", "FLUSH")
    assert (await redis.append([append()]))[0].status is WriteStatus.OK


async def test_old_redis_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(*_: object) -> bytes:
        return b"# Server\r\nredis_version:6.0.16\r\n"

    store = connect("redis://localhost")
    monkeypatch.setattr(store._client, "call", call)
    with pytest.raises(StoreError, match=r"6\.0\.16.*6\.2"):
        await store.check()


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (theirs.BusyLoadingError("loading"), StoreDown),
        (theirs.ReadOnlyError("no"), StoreDown),
        (theirs.ResponseError("Error running script: @user_script: READONLY You can't write"), StoreDown),
        (theirs.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), StoreDown),
        (theirs.MovedError("1 127.0.0.1:6379"), StoreDown),
        (theirs.ClusterDownError("down"), StoreDown),
        (theirs.AuthenticationError("NOAUTH"), StoreDown),
        (theirs.ConnectionError("reset"), StoreDown),
        (OSError("unreachable"), StoreDown),
        (theirs.OutOfMemoryError("no"), StoreFull),
        (theirs.ResponseError("MISCONF Redis is configured to save"), StoreFull),
        (theirs.ResponseError("WRONGTYPE Operation"), StoreError),
        (theirs.NoPermissionError("no"), StoreError),
    ],
)
def test_errors_of_redis_become_ours(error: Exception, becomes: type[StoreError]) -> None:
    ours = translate(error, "redis://there")
    assert type(ours) is becomes
    assert "redis://there" in str(ours)


async def test_killed_connections_are_replaced_and_none_leaks(redis: RedisStore) -> None:
    admin = Client(redis._client.address)
    await redis.create(new())
    for _ in range(10):
        await asyncio.gather(*(redis.turn(ref()) for _ in range(10)))
        await admin.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert (await redis.turn(ref())) is not None
    listed = await admin.call("CLIENT", "LIST")
    assert len(listed.splitlines()) <= 12
    await admin.close()


async def test_calls_beyond_the_limit_wait_for_a_connection(server: Server) -> None:
    client = Client(server.url, limit=3)
    assert await asyncio.gather(*(client.call("ECHO", f"{n}") for n in range(50))) == [b"%d" % n for n in range(50)]
    assert len(client._idle) <= 3
    await client.close()


async def test_call_cancelled_at_any_moment_disturbs_no_other(redis: RedisStore) -> None:
    client = redis._client
    assert isinstance(client, Client)
    for steps in range(40):
        task = asyncio.create_task(client.call("ECHO", f"cancelled {steps}"))
        for _ in range(steps % 8):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await client.call("ECHO", f"{steps}") == b"%d" % steps
    assert not client._lent


# Calls of which a second one answers something else: the ticket is gone, the item is no longer there.
ONCE: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "ticket": lambda store: store.take_ticket("t"),
    "turn": lambda store: store.delete(ref()),
    "item": lambda store: store.delete_item(ALICE, "conv_1", "a"),
    "conversation": lambda store: store.delete_conversation(ALICE, "conv_2"),
}


async def prepared(store: RedisStore) -> None:
    """What each of them takes away."""
    await store.put_ticket("t", Ticket(ALICE, "proof"), 60)
    await store.create(new())
    await add_conversation(store, "conv_1", item("a").id)
    await add_conversation(store, "conv_2")


@pytest.mark.parametrize("what", ONCE)
async def test_call_that_cannot_be_repeated_fails_where_its_answer_was_lost(single: Listening, what: str) -> None:
    """Repeated, it would deny what it did: the connection was one of the pool, and ended after the write."""
    single.admin.flushall()
    async with proxy(single.port) as between:
        store = connect(between.url)
        await prepared(store)
        between.losses = 1
        with pytest.raises(StoreDown):
            await ONCE[what](store)
        assert between.lost == 1
        assert not await ONCE[what](store)
        await store.close()


@pytest.mark.parametrize("what", ONCE)
async def test_call_that_cannot_be_repeated_is_made_where_its_connection_had_died_before(
    redis: RedisStore, what: str
) -> None:
    admin = Client(redis._client.address)
    await asyncio.gather(prepared(redis), *(redis.turn(ref()) for _ in range(5)))
    await admin.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await ONCE[what](redis)
    await admin.close()
