"""The group commit."""

import asyncio

import pytest

from server.log.committer import CommitPolicy
from server.log.journal import Fenced, Journal, LogLost, TurnEnded, Writer
from server.protocol.entry import Event, Kind, decode
from server.protocol.status import Status
from server.store.memory.store import MemoryStore
from server.store.types import Lease, LogEntry, WriteStatus
from tests.server.store.faulty import Faulty
from tests.server.store.make import DONE, MINE, begin, ending, new, ref, text, words

QUICK = CommitPolicy(first_retry=0.001, max_retry=0.002, stall_seconds=0.03)


async def test_what_gathers_while_a_call_is_in_flight_goes_out_in_the_next(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        await asyncio.sleep(0.01)
        writer.append(text("b", "c"))
        writer.append(text("d"))
        faulty.gate.set()
        await writer.flushed()
    assert [[words(one.entry) for one in batch] for batch in faulty.batches] == [[["a"]], [["b", "cd"]]]
    assert [(one.after_seq, one.last_seq) for batch in faulty.batches for one in batch] == [(1, 2), (2, 4)]


async def test_all_turns_of_an_engine_step_share_a_call(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writers = [await begin(journal, faulty, f"resp_{n}") for n in range(20)]
        step = asyncio.get_running_loop().create_future()

        async def runner(writer: Writer) -> None:
            await step
            writer.append(text("x"))

        for _ in range(3):
            faulty.batches.clear()
            step = asyncio.get_running_loop().create_future()
            tasks = [asyncio.create_task(runner(writer)) for writer in writers]
            await asyncio.sleep(0)
            step.set_result(None)
            await asyncio.gather(*tasks, *(writer.flushed() for writer in writers))
            assert [len(batch) for batch in faulty.batches] == [20]


@pytest.mark.parametrize("faults", [["reply"], ["request"], ["reply", "request", "reply"]])
async def test_batch_is_repeated_byte_for_byte_until_it_is_answered(faulty: Faulty, faults: list[str]) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.faults = list(faults)
        writer.append(text("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writer.append(text("b"))
        await writer.flushed()
        first = faulty.batches[0]
        assert faulty.batches[: len(faults) + 1] == [first] * (len(faults) + 1)
        page = await faulty.read(ref(), 1, 99)
    assert [words(logged.entry) for logged in page.entries] == [["a"], ["b"]]


async def test_viewers_see_only_what_was_acknowledged(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        await asyncio.sleep(0.01)
        assert (writer.last_seq, writer.acknowledged, writer.tail.last_seq) == (2, 1, 1)
        faulty.gate.set()
        await writer.flushed()
        assert writer.tail.last_seq == 2


async def test_finish_comes_after_everything_before_it(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        await asyncio.sleep(0.01)
        writer.append(text("b"))
        ended = asyncio.create_task(writer.finish([*text("c"), *DONE], Status.COMPLETED, b"{}"))
        await asyncio.sleep(0.01)
        faulty.gate.set()
        assert (await ended).status is WriteStatus.OK
        assert [entry.is_last for entry in writer.tail.entries] == [False, False, True]
        page = await faulty.read(ref(), 1, 99)
        assert [words(logged.entry) for logged in page.entries] == [["a"], ["b", "c", ""]]
        assert (page.status, page.last_seq) == (Status.COMPLETED, 5)
        with pytest.raises(RuntimeError):
            writer.append(text("d"))


@pytest.mark.parametrize("faults", [["reply"], ["request", "reply"]])
async def test_finish_is_repeated_until_it_is_answered(faulty: Faulty, faults: list[str]) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.faults = list(faults)
        assert (await writer.finish(DONE, Status.COMPLETED, b"{}")).status in (WriteStatus.OK, WriteStatus.DUPLICATE)


async def test_cancelled_finish_is_written_all_the_same(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        ended = asyncio.create_task(writer.finish(DONE, Status.COMPLETED, b"{}"))
        await asyncio.sleep(0.01)
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        faulty.gate.set()
        await writer.flushed()
        assert (await faulty.turn(ref())).status is Status.COMPLETED


async def test_room_is_bounded(faulty: Faulty) -> None:
    async with Journal(faulty, pace=CommitPolicy(max_unacknowledged=10)) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text(*"0123456789"))
        waiting = asyncio.create_task(writer.wait_for_room())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        faulty.gate.set()
        await waiting


async def test_fenced_writer_stops_and_its_viewers_go_elsewhere(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        told: list[Writer] = []
        await faulty.create(new())
        writer = journal.open_writer(ref(), MINE, 1, None, [LogEntry(1, b"first")], told=told.append)
        other = await begin(journal, faulty, "other")
        await faulty.claim(ref(), MINE, "node-b")
        writer.append(text("a"))
        other.append(text("a"))
        with pytest.raises(Fenced) as caught:
            await writer.flushed()
        assert caught.value.outcome.lease == Lease(2, "node-b")
        assert told == [writer]
        assert writer.tail.closed
        assert journal.buffer(ref()) is None
        with pytest.raises(Fenced):
            writer.append(text("b"))
        with pytest.raises(Fenced):
            await writer.wait_for_room()
        with pytest.raises(Fenced):
            await writer.finish(DONE, Status.COMPLETED, b"{}")
        await other.flushed()


async def test_turn_that_somebody_else_ended_is_ended(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        await faulty.claim(ref(), MINE, "node-b")
        await faulty.finish(ending(after=1, lease=Lease(2, "node-b")))
        with pytest.raises(TurnEnded):
            await writer.finish(DONE, Status.COMPLETED, b"{}")


async def test_deleted_turn_fails_loudly(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        await faulty.delete(ref())
        writer.append(text("a"))
        with pytest.raises(LogLost):
            await writer.flushed()


async def test_stop_comes_back_with_an_append(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        told: list[Writer] = []
        await faulty.create(new())
        writer = journal.open_writer(ref(), MINE, 1, None, [LogEntry(1, b"first")], told=told.append)
        await faulty.cancel(ref())
        writer.append(text("a"))
        await writer.flushed()
        writer.append(text("b"))
        await writer.flushed()
        assert writer.stopped
        assert told == [writer]


async def test_stall_is_noticed_and_ends(faulty: Faulty) -> None:
    changes: list[bool] = []
    async with Journal(faulty, pace=QUICK, on_stall=changes.append) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        assert changes == []
        await asyncio.sleep(0.06)
        assert journal.stalled
        assert [writer.tail.stalled] == [True]
        faulty.gate.set()
        await writer.flushed()
        assert changes == [True, False]
    assert not writer.tail.stalled


async def test_finished_log_stays_in_memory_for_a_while(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK, keep=0.03) as journal:
        writer = await begin(journal, faulty)
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        writer.close()
        assert journal.buffer(ref()) is writer.tail
        await asyncio.sleep(0.06)
        assert journal.buffer(ref()) is None


async def test_closed_writer_gives_its_turn_up(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        writer.append(text("never"))
        writer.close()
        writer.close()
        await asyncio.sleep(0.01)
        assert faulty.batches == []
        assert journal.buffer(ref()) is None


async def test_open_item_is_noted_where_each_entry_begins(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        writer = await begin(journal, faulty)
        writer.append([Event(Kind.ITEM_ADDED, data={"id": "msg_1", "type": "message", "output_index": 0})])
        await writer.flushed()
        writer.append(text("a"))
        await writer.flushed()
        entries = [decode(logged.entry) for logged in writer.tail.entries[1:]]
    assert entries[0].open is None
    assert entries[1].open is not None
    assert entries[1].open.item_id == "msg_1"


async def test_big_backlog_goes_out_in_several_calls(faulty: Faulty) -> None:
    async with Journal(faulty, pace=CommitPolicy(max_turns=3)) as journal:
        writers = [await begin(journal, faulty, f"resp_{n}") for n in range(8)]
        for writer in writers:
            writer.append(text("x"))
        for writer in writers:
            await writer.flushed()
    assert [len(batch) for batch in faulty.batches] == [3, 3, 2]


async def test_closing_the_journal_ends_a_call_in_flight(faulty: Faulty) -> None:
    journal = Journal(faulty, pace=QUICK)
    writer = await begin(journal, faulty)
    faulty.gate.clear()
    writer.append(text("a"))
    finishing = await begin(journal, faulty, "b")
    ended = asyncio.create_task(finishing.finish(DONE, Status.COMPLETED, b"{}"))
    await asyncio.sleep(0.01)
    await journal.close()
    await journal.close()
    await asyncio.gather(ended, return_exceptions=True)
    assert ended.cancelled()


async def test_event_that_cannot_be_packed_stops_its_own_turn(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        bad, good = await begin(journal, faulty, "bad"), await begin(journal, faulty, "good")
        bad.append([Event(Kind.ITEM_DONE, data=object())])
        good.append(text("a"))
        await good.flushed()
        with pytest.raises(LogLost) as caught:
            await bad.flushed()
        assert isinstance(caught.value.__cause__, TypeError)
        good.append([Event(Kind.ITEM_DONE, data=object())])
        with pytest.raises(LogLost):
            await good.finish(DONE, Status.COMPLETED, b"{}")
        assert journal.buffer(ref("good")) is None


async def test_answer_that_makes_no_sense_stops_the_batch_and_nobody_else(faulty: Faulty) -> None:
    async with Journal(faulty, pace=QUICK) as journal:
        one = await begin(journal, faulty, "one")
        faulty.faults = ["bug"]
        one.append(text("a"))
        with pytest.raises(LogLost):
            await one.flushed()
        other = await begin(journal, faulty, "other")
        other.append(text("a"))
        await other.flushed()


async def test_partitions_do_not_wait_for_each_other() -> None:
    store = Faulty(MemoryStore(partitions=16))
    async with Journal(store, pace=QUICK) as journal:
        writers = []
        for caller in ("alice", "bob"):
            await store.create(new(caller=caller))
            writers.append(journal.open_writer(ref(caller=caller), MINE, 1, None, [LogEntry(1, b"first")]))
        store.gate.clear()
        writers[0].append(text("a"))
        await asyncio.sleep(0.01)
        writers[1].append(text("b"))
        await asyncio.sleep(0.01)
        assert [[one.ref.caller for one in batch] for batch in store.batches] == [["alice"], ["bob"]]
        store.gate.set()
        for writer in writers:
            await writer.flushed()
