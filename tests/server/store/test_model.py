"""Any sequence of calls is answered alike by Redis and in memory, each call once or twice, and keeps a log's rules."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.protocol.status import FINAL
from server.store.contracts import Store
from server.store.errors import Conflict
from server.store.memory.store import MemoryStore
from server.store.redis.client import Client
from server.store.redis.store import connect
from server.store.types import Checkpoint, Conversation, Ending, Lease, LogEntry, NewTurn, Turn
from tests.redis_server import Server
from tests.server.store.make import ALICE, append, ending, item, new, ref

T = TypeVar("T")
NAMES = "abcde"
IDS = st.sampled_from(NAMES)
CONVERSATIONS = st.sampled_from(["conv_1", "conv_2"])
LEASES = st.builds(Lease, st.integers(1, 3), st.sampled_from(["x", "y"]))
OWNERS = st.sampled_from(["x", "y"])
AFTER = st.integers(0, 5)
ITEMS = st.lists(st.sampled_from(["i", "j", "k"]).map(item), max_size=2, unique=True).map(tuple)
Call = Callable[[Store], Awaitable[Any]]


def call(method: str, *args: st.SearchStrategy[Any], **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(method), st.tuples(*args), st.fixed_dictionaries(options))


NEW = st.builds(
    new,
    IDS,
    lease=st.none() | LEASES.filter(lambda lease: lease.fence == 1),
    kept=st.booleans(),
    idempotency_key=st.none() | st.sampled_from(["k", "l"]),
    fingerprint=st.sampled_from(["f", "f", "f", "g"]),
    conversation=st.none() | CONVERSATIONS,
    input=ITEMS,
)
APPENDS = st.builds(
    lambda id, after, events, lease: append(id, after, after + events, lease=lease),
    IDS,
    AFTER,
    st.integers(1, 3),
    LEASES,
)
BATCHES = st.lists(APPENDS, min_size=1, max_size=3, unique_by=lambda one: one.ref)
ENDINGS = st.builds(
    lambda id, after, lease, output: msgspec.structs.replace(ending(id, after, lease=lease), output=output),
    IDS,
    AFTER,
    LEASES,
    ITEMS,
)
CHAINED = st.builds(lambda id, input: new(id, input=input), IDS, ITEMS)
CALLS = st.one_of(
    call("chain", CHAINED, IDS, ENDINGS),
    call("chain", CHAINED, IDS, ENDINGS),
    call("create", NEW),
    call("append", BATCHES),
    call("append", BATCHES),
    call("finish", ENDINGS),
    call("finish", ENDINGS),
    call("claim", IDS.map(ref), st.none() | LEASES, OWNERS),
    call("claim", IDS.map(ref), LEASES, OWNERS, above=st.integers(1, 3)),
    call("offer", IDS.map(ref), LEASES),
    call("release", IDS.map(ref), LEASES),
    call("cancel", IDS.map(ref)),
    call("delete", IDS.map(ref)),
    call(
        "create_conversation",
        st.just(ALICE),
        st.builds(Conversation, CONVERSATIONS, st.just(1), st.just({})),
        ITEMS,
        fingerprint=st.sampled_from(["", "f", "g"]),
    ),
    call("add_items", st.just(ALICE), CONVERSATIONS, ITEMS),
    call("delete_item", st.just(ALICE), CONVERSATIONS, st.sampled_from(["i", "j"])),
    call("delete_conversation", st.just(ALICE), CONVERSATIONS),
)


async def answered(store: Store, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What a call answers, or raises."""
    try:
        if method == "chain":
            return await chain(store, *args)
        return await getattr(store, method)(*args, **options)
    except Conflict as error:
        return type(error), error.args


async def chain(store: Store, turn: NewTurn, parent: str, end: Ending) -> Any:
    """A whole turn that continues a response, which may be deleted before it ends."""
    stored = await store.response(ref(parent))
    place = stored.checkpoint if stored else None
    created = await store.create(msgspec.structs.replace(turn, parent=place))
    if end.append.lease.fence == 2:
        await store.delete(ref(parent))
    mine = msgspec.structs.replace(append(turn.ref.id), ref=turn.ref)
    return place, created, await store.finish(msgspec.structs.replace(end, append=mine))


async def state(store: Store) -> list[Any]:
    """Everything that can be read."""
    seen: list[Any] = [sorted((plain(turn) for turn in await store.unfinished_turns(0)), key=lambda turn: turn.ref.id)]
    for id in NAMES:
        stored = await store.response(ref(id))
        seen += [await store.read(ref(id), -1, 99), plain(await store.turn(ref(id))), stored]
        seen.append(await store.input_items(ref(id)))
        if stored is not None and stored.checkpoint is not None:
            seen.append(await store.history(ALICE, stored.checkpoint))
    for id in ("conv_1", "conv_2"):
        seen += [await store.conversation(ALICE, id), await store.conversation_end(ALICE, id)]
        seen.append(await answered(store, "items", (ALICE, id, None, 9), {"newest": True}))
        seen.append(await store.history(ALICE, Checkpoint(id, 0)))
    seen.append(await store.conversations(ALICE, None, 9))
    return seen


def plain(turn: Turn | None) -> Any:
    return None if turn is None else msgspec.structs.replace(turn, created_at=0.0)


async def lawful(store: Store) -> None:
    """A log has no gap, and a terminal event if and only if it has ended."""
    for id in NAMES:
        page = await store.read(ref(id), -1, 99)
        ends = [-1, *(logged.last_seq for logged in page.entries)]
        assert [logged.after_seq for logged in page.entries] == ends[:-1]
        last: list[LogEntry] = [logged for logged in page.entries if logged.is_last]
        if page.status is not None:
            assert page.last_seq == ends[-1]
            assert len(last) == (page.status in FINAL)
            assert not last or last[0] is page.entries[-1]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CALLS, max_size=25), st.booleans())
def test_redis_and_memory_answer_alike(redis7: Server, calls: list[Any], repeated: bool) -> None:
    asyncio.run(alike(redis7, calls, repeated))


async def alike(server: Server, calls: list[Any], repeated: bool) -> None:
    admin, redis, memory, once = Client(server.url), connect(server.url), MemoryStore(), MemoryStore()
    await admin.call("FLUSHALL")
    for method, args, options in calls:
        await answered(once, method, args, options)
        for _ in range(1 + repeated):
            one = await answered(redis, method, args, options)
            assert one == await answered(memory, method, args, options), method
    assert await state(redis) == await state(memory) == await state(once)
    await lawful(redis)
    await redis.close()
    await admin.close()
