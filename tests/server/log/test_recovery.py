"""Redis comes back older than what it had acknowledged, and the owner is alive."""

import asyncio
from copy import deepcopy

import pytest

from server.log.journal import Fenced, Journal, LogLost, Writer
from server.log.subscriber import LogSubscriber
from server.protocol.entry import Event, Kind
from server.protocol.status import Status
from server.store.memory.store import MemoryStore
from server.store.redis.store import RedisStore
from server.store.types import Conversation, Lease, WriteStatus
from tests.server.log.test_journal import QUICK
from tests.server.log.test_subscriber import SHORT, everything, mirrored
from tests.server.store.faulty import Faulty
from tests.server.store.make import ALICE, DONE, MINE, append, claimed, ending, item, new, ref, text
from tests.waiting import until


def snapshot(store: MemoryStore) -> dict[str, object]:
    """What a replica has that misses everything from here on."""
    return deepcopy({name: value for name, value in vars(store).items() if name != "_news"})


def restore(store: MemoryStore, older: dict[str, object]) -> None:
    vars(store).update(deepcopy(older))


async def write(writer: Writer, *words: str) -> None:
    for word in words:
        writer.append(text(word))
        await writer.flush()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_missing_entries_are_appended_again_with_the_same_numbers(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create(new())
        writer = journal.open_writer(claimed())
        await write(writer, "a")
        older = snapshot(store)
        await write(writer, "b", "c")
        before = await store.read(ref(), -1, 99)
        restore(store, older)
        await write(writer, "d")
        page = await store.read(ref(), -1, 99)
        assert page.entries[: len(before.entries)] == before.entries
        assert page.entries == tuple(writer.buffer.entries)
        assert (page.last_seq, writer.lease) == (5, MINE)


async def test_claim_that_was_lost_is_made_again_above_both_fences(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create(new(lease=Lease(1, "dead")))
        older = snapshot(store)
        outcome = await store.claim(ref(), Lease(1, "dead"), "node-b")
        assert outcome.lease is not None
        writer = journal.open_writer(claimed(lease=outcome.lease))
        await write(writer, "a", "b")
        restore(store, older)
        await write(writer, "c")
        assert writer.lease == Lease(3, "node-b")
        assert (await store.append([append(lease=Lease(1, "dead"))]))[0].status is WriteStatus.FENCED
        assert (await store.read(ref(), -1, 99)).entries == tuple(writer.buffer.entries)
        turn = await store.turn(ref())
        assert turn is not None
        assert (turn.lease, turn.claims) == (writer.lease, 0)


async def test_end_comes_after_what_was_missing(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create(new(lease=Lease(1, "dead")))
        older = snapshot(store)
        await store.claim(ref(), Lease(1, "dead"), "node-b")
        writer = journal.open_writer(claimed(lease=Lease(2, "node-b")))
        await write(writer, "a")
        restore(store, older)
        assert (await writer.finish(DONE, Status.COMPLETED, b"{}")).status is WriteStatus.OK
        page = await store.read(ref(), -1, 99)
        assert page.entries == tuple(writer.buffer.entries)
        assert (page.status, page.last_seq) == (Status.COMPLETED, 3)


async def test_replies_that_are_lost_meanwhile_change_nothing(store: MemoryStore) -> None:
    faulty = Faulty(store)
    async with Journal(faulty, policy=QUICK) as journal:
        await store.create(new())
        writer = journal.open_writer(claimed())
        older = snapshot(store)
        await write(writer, "a", "b")
        restore(store, older)
        faulty.faults = ["", "reply", "request", "reply"]
        await write(writer, "c")
        assert (await store.read(ref(), -1, 99)).entries == tuple(writer.buffer.entries)


async def test_other_turns_are_written_meanwhile(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        for id in ("a", "b"):
            await store.create(new(id))
        older = snapshot(store)
        writers = [journal.open_writer(claimed(id)) for id in ("a", "b")]
        for writer in writers:
            await write(writer, "x", "y")
        restore(store, older)
        for n in range(20):
            for writer in writers:
                writer.append(text(f"{n}"))
            await asyncio.sleep(0)
        for writer in writers:
            await writer.flush()
            assert (await store.read(writer.ref, -1, 99)).entries == tuple(writer.buffer.entries)


async def test_turn_that_another_node_took_meanwhile_is_left_to_it(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create(new())
        writer = journal.open_writer(claimed())
        older = snapshot(store)
        await write(writer, "a")
        restore(store, older)
        await store.claim(ref(), MINE, "node-b")
        writer.append(text("b"))
        with pytest.raises(Fenced):
            await writer.flush()


async def test_turn_that_is_not_in_the_store_raises_log_lost(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        writer = journal.open_writer(claimed())
        writer.append(text("a"))
        with pytest.raises(LogLost):
            await writer.flush()


async def test_empty_redis_is_given_the_whole_turn_again(redis: RedisStore) -> None:
    async with Journal(redis, policy=QUICK) as journal:
        origin = new(input=(item("x"),), idempotency_key="k")
        await redis.create(origin)
        writer = journal.open_writer(claimed(origin=origin))
        await write(writer, "a", "b")
        await redis._client.call("FLUSHALL")
        await write(writer, "c")
        assert (await redis.read(ref(), -1, 99)).entries == tuple(writer.buffer.entries)
        await redis._client.call("FLUSHALL")
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        page = await redis.read(ref(), -1, 99)
        assert page.entries == tuple(writer.buffer.entries)
        assert (page.status, page.last_seq) == (Status.COMPLETED, 5)
        assert await redis.input_items(ref()) == [item("x").json]


async def test_deleted_turn_is_not_given_back(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create(new())
        writer = journal.open_writer(claimed(origin=new()))
        await store.delete(ref())
        writer.append(text("a"))
        with pytest.raises(LogLost):
            await writer.flush()
        assert await store.turn(ref()) is None


async def test_turn_whose_conversation_is_gone_is_lost(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create_conversation(ALICE, Conversation("conv_1", 1, {}), ())
        origin = new(conversation="conv_1")
        await store.create(origin)
        writer = journal.open_writer(claimed(origin=origin))
        restore(store, snapshot(MemoryStore()))
        writer.append(text("a"))
        with pytest.raises(LogLost):
            await writer.flush()


async def test_subscriber_elsewhere_sees_each_entry_once_when_redis_comes_back_older(redis: RedisStore) -> None:
    """What a subscriber had seen does not come a second time, what it had not does."""
    names = [redis._keys.turn(ALICE, "resp_1"), redis._keys.log(ALICE, "resp_1")]
    async with Journal(redis, policy=QUICK) as journal, LogSubscriber(redis, policy=SHORT) as subscriber:
        await redis.create(new())
        writer = journal.open_writer(claimed())
        await write(writer, "a")
        for name in names:
            await redis._client.call("COPY", name, name + "~")
        seen = asyncio.create_task(everything(subscriber, -1))
        await write(writer, "b", "c")
        await until(lambda: mirrored(subscriber) == 4, "the mirror has what will be lost")
        for name in names:
            await redis._client.call("RENAME", name + "~", name)
        await write(writer, "d")
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        assert await seen == [(-1, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
        assert (await redis.read(ref(), -1, 99)).entries == tuple(writer.buffer.entries)


async def test_end_that_another_owner_wrote_into_an_older_redis_stays(store: MemoryStore) -> None:
    async with Journal(store, policy=QUICK) as journal:
        await store.create(new())
        older = snapshot(store)
        writer = journal.open_writer(claimed())
        await write(writer, "a")
        restore(store, older)
        await store.claim(ref(), MINE, "node-b")
        await store.finish(ending(after=1, lease=Lease(2, "node-b")))
        with pytest.raises(Fenced):
            await writer.finish([Event(Kind.FAILED, data={})], Status.FAILED, b"{}")
