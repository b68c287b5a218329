"""The answer to a write is lost after it was applied: repeated until it is answered, it is applied once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.store.errors import StoreDown
from server.store.memory.store import MemoryStore
from server.store.redis.store import RedisStore, connect
from server.store.types import Conversation, Lease
from tests.redis_server import Listening
from tests.server.store.make import ALICE, BOB, MINE, append, ending, item, new, ref
from tests.server.store.proxy import Proxy, proxy
from tests.server.store.test_model import answered, state

pytestmark = pytest.mark.redis
Calls = list[tuple[str, tuple[Any, ...]]]
TALK: Calls = [("create_conversation", (ALICE, Conversation("conv_1", 1, {}), (item("i"),)))]
TURN: Calls = [("create", (new("a"),))]
WRITES: list[tuple[Calls, str, tuple[Any, ...]]] = [
    (TALK, "create", (new("a", conversation="conv_1", idempotency_key="k", input=(item("j"),)),)),
    ([], "create", (new("a", lease=None, input=(item("j"),)),)),
    (TURN, "append", ([append("a"), append("b")],)),
    (TURN, "claim", (ref("a"), MINE, "node-b")),
    (TURN, "offer", (ref("a"), MINE)),
    (TURN, "release", (ref("a"), MINE)),
    (TURN, "cancel", (ref("a"),)),
    (TURN, "finish", (ending("a", 1, "x"),)),
    ([*TALK, ("create", (new("a", conversation="conv_1"),))], "finish", (ending("a", 1, "x"),)),
    ([*TURN, ("finish", (ending("a", 1, "x"),))], "delete", (ref("a"),)),
    ([], "create_conversation", (ALICE, Conversation("conv_1", 1, {"k": "v"}), (item("i"), item("j")))),
    (TALK, "add_items", (ALICE, "conv_1", (item("j"), item("k")))),
    (TALK, "set_metadata", (ALICE, "conv_1", {"k": "v"})),
    (TALK, "delete_item", (ALICE, "conv_1", "i")),
    (TALK, "delete_conversation", (ALICE, "conv_1")),
]


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


@pytest.mark.parametrize(("before", "method", "args"), WRITES, ids=[f"{row[1]}{n}" for n, row in enumerate(WRITES)])
@pytest.mark.parametrize("losses", [1, 3])
async def test_write_is_applied_once(
    between: Proxy, store: RedisStore, before: Calls, method: str, args: tuple[Any, ...], losses: int
) -> None:
    model = MemoryStore()
    for each in (store, model):
        for name, values in before:
            await answered(each, name, values, {})
    await answered(model, method, args, {})
    between.losses = losses
    await until_answered(store, method, args)
    assert between.lost == losses
    assert await state(store) == await state(model)


async def until_answered(store: RedisStore, method: str, args: tuple[Any, ...]) -> None:
    for _ in range(9):
        try:
            await answered(store, method, args, {})
        except StoreDown:
            continue
        return
    pytest.fail("no answer")


async def test_lost_answers_to_a_late_write_of_another_owner_change_nothing(between: Proxy, store: RedisStore) -> None:
    await store.create(new("a"))
    await store.claim(ref("a"), MINE, "node-b")
    await store.append([append("a", lease=Lease(2, "node-b"))])
    before = await state(store)
    between.losses = 2
    await until_answered(store, "append", ([append("a")],))
    await until_answered(store, "finish", (ending("a", 1),))
    assert (between.lost, await state(store)) == (2, before)
    assert await store.turn(ref("a", BOB)) is None
