"""The registry of nodes in Redis: lifetimes, and what a lost reply leaves."""

from collections.abc import AsyncIterator

import pytest

from server.store.errors import StoreDown
from server.store.redis.scripts import NODES_TTL_S, NOTIFICATIONS_TTL_S
from server.store.redis.store import RedisStore, connect
from server.store.retry import until_answered
from server.store.types import Conversation
from tests.redis_server import Listening
from tests.server.store.make import ALICE, ref
from tests.server.store.proxy import Proxy, proxy

pytestmark = pytest.mark.redis


async def ttl(store: RedisStore, key: str) -> int:
    return int(await store._client.call("TTL", key))


async def test_nodes_and_notifications_expire(redis: RedisStore) -> None:
    await redis.beat("a", b"ready")
    await redis.notify_owner("a", ref())
    assert await ttl(redis, redis._keys.nodes()) == pytest.approx(NODES_TTL_S, abs=2)
    assert await ttl(redis, redis._keys.notifications("a")) == pytest.approx(NOTIFICATIONS_TTL_S, abs=2)


async def test_each_notification_renews_those_that_wait(redis: RedisStore) -> None:
    await redis.notify_owner("a", ref("a"))
    await redis._client.call("EXPIRE", redis._keys.notifications("a"), 1)
    await redis.notify_owner("a", ref("b"))
    assert await ttl(redis, redis._keys.notifications("a")) > 1
    assert (await redis.beat("a", b"")).notifications == (ref("a"), ref("b"))


@pytest.fixture
async def between(single: Listening) -> AsyncIterator[Proxy]:
    single.admin.flushall()
    async with proxy(single.port) as between:
        yield between


@pytest.fixture
async def store(between: Proxy) -> AsyncIterator[RedisStore]:
    store = connect(between.url)
    yield store
    await store.close()


async def test_notification_without_any_reply_has_a_lifetime(
    single: Listening, between: Proxy, store: RedisStore
) -> None:
    between.losses = 99
    with pytest.raises(StoreDown):
        await store.notify_owner("a", ref())
    assert single.admin.ttl(store._keys.notifications("a")) > 0


@pytest.mark.parametrize("losses", [1, 3])
async def test_notification_whose_reply_was_lost_is_one_when_repeated(
    between: Proxy, store: RedisStore, losses: int
) -> None:
    between.losses = losses
    await until_answered(lambda: store.notify_owner("a", ref()))
    assert between.lost == losses
    assert (await store.beat("a", b"")).notifications == (ref(),)


@pytest.mark.parametrize("losses", [1, 3])
async def test_metadata_whose_reply_was_lost_is_answered_when_repeated(
    between: Proxy, store: RedisStore, losses: int
) -> None:
    await store.create_conversation(ALICE, Conversation("conv_1", 1, {}), ())
    changed = Conversation("conv_1", 1, {"k": "v"})
    between.losses = losses
    assert await until_answered(lambda: store.set_metadata(ALICE, "conv_1", {"k": "v"})) == changed
    assert between.lost == losses
    assert await store.conversation(ALICE, "conv_1") == changed
