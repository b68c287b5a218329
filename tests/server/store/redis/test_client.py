"""Calls to one Redis: pooled connections, scripts, errors."""

import asyncio

import pytest
import redis.exceptions as theirs

from server.store.errors import StoreDown, StoreError, StoreFull
from server.store.redis.client import Client, translate
from server.store.redis.store import RedisStore, connect
from server.store.types import WriteStatus
from tests.redis_server import Server
from tests.server.store.make import append, new, ref


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
