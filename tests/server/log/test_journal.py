"""The group commit, seen through the writers that a journal opens."""

import asyncio
import weakref

import pytest

from server.log import journal as journal_module
from server.log.committer import CommitPolicy
from server.log.journal import Fenced, Journal, LogLost, TurnEnded, Writer
from server.protocol.entry import Event, Kind, decode
from server.protocol.status import Status
from server.store.memory.store import MemoryStore
from server.store.types import Lease, WriteStatus
from tests.frozen import frozen_time
from tests.server.log.stalls import stall_changes
from tests.server.store.faulty import Faulty
from tests.server.store.make import DONE, MINE, begin, claimed, ending, new, ref, text, words
from tests.waiting import until

QUICK = CommitPolicy(first_retry=0.001, max_retry=0.002, stall_seconds=0.03)
STEPS = 100  # of the loop, at most, until a call begins


async def until_sent(faulty: Faulty, calls: int = 1) -> None:
    """Wait until so many calls to the store began, without giving their answers time to come."""
    for _ in range(STEPS):
        if len(faulty.batches) >= calls:
            return
        await asyncio.sleep(0)
    pytest.fail(f"{len(faulty.batches)} calls of {calls} began")


async def test_what_gathers_while_a_call_is_in_flight_goes_out_in_the_next(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        await until_sent(faulty)
        writer.append(text("b", "c"))
        writer.append(text("d"))
        faulty.gate.set()
        await writer.flush()
    assert [[words(append.entry) for append in batch] for batch in faulty.batches] == [[["a"]], [["b", "cd"]]]
    assert [(append.after_seq, append.last_seq) for batch in faulty.batches for append in batch] == [(1, 2), (2, 4)]


async def test_all_turns_of_an_engine_step_share_a_call(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
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
            await asyncio.gather(*tasks, *(writer.flush() for writer in writers))
            assert [len(batch) for batch in faulty.batches] == [20]


@pytest.mark.parametrize("faults", [["reply"], ["request"], ["reply", "request", "reply"]])
async def test_batch_is_repeated_byte_for_byte_until_it_is_answered(faulty: Faulty, faults: list[str]) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.faults = list(faults)
        writer.append(text("a"))
        await until_sent(faulty)
        writer.append(text("b"))
        await writer.flush()
        first = faulty.batches[0]
        assert faulty.batches[: len(faults) + 1] == [first] * (len(faults) + 1)
        page = await faulty.read(ref(), 1, 99)
    assert [words(entry.entry) for entry in page.entries] == [["a"], ["b"]]


async def test_buffer_holds_only_what_was_acknowledged(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        await until_sent(faulty)
        assert (writer.last_seq, writer.acknowledged, writer.buffer.last_seq) == (2, 1, 1)
        faulty.gate.set()
        await writer.flush()
        assert writer.buffer.last_seq == 2


async def test_finish_comes_after_everything_before_it(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        await until_sent(faulty)
        writer.append(text("b"))
        ended = asyncio.create_task(writer.finish([*text("c"), *DONE], Status.COMPLETED, b"{}"))
        await until(lambda: writer.last_seq == 5, "the end was handed over")
        faulty.gate.set()
        assert (await ended).status is WriteStatus.OK
        assert [entry.is_last for entry in writer.buffer.entries] == [False, False, True]
        page = await faulty.read(ref(), 1, 99)
        assert [words(entry.entry) for entry in page.entries] == [["a"], ["b", "c", ""]]
        assert (page.status, page.last_seq) == (Status.COMPLETED, 5)
        with pytest.raises(RuntimeError):
            writer.append(text("d"))


@pytest.mark.parametrize("faults", [["reply"], ["request", "reply"]])
async def test_finish_is_repeated_until_it_is_answered(faulty: Faulty, faults: list[str]) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.faults = list(faults)
        assert (await writer.finish(DONE, Status.COMPLETED, b"{}")).status in (WriteStatus.OK, WriteStatus.DUPLICATE)


async def test_cancelled_finish_is_written_all_the_same(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        ended = asyncio.create_task(writer.finish(DONE, Status.COMPLETED, b"{}"))
        await until_sent(faulty)
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        faulty.gate.set()
        await writer.flush()
        assert (await faulty.turn(ref())).status is Status.COMPLETED


async def test_wait_for_room_waits_while_too_many_events_are_unacknowledged(faulty: Faulty) -> None:
    async with Journal(faulty, policy=CommitPolicy(max_unacknowledged=10)) as journal:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text(*"0123456789"))
        waiting = asyncio.create_task(writer.wait_for_room())
        await until_sent(faulty)
        assert not waiting.done()
        faulty.gate.set()
        await waiting


async def test_fenced_writer_stops_and_closes_its_buffer(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        news: list[Writer] = []
        await faulty.create(new())
        writer = journal.open_writer(claimed(), news.append)
        other = await begin(journal, faulty, "other")
        await faulty.claim(ref(), MINE, "node-b")
        writer.append(text("a"))
        other.append(text("a"))
        with pytest.raises(Fenced) as caught:
            await writer.flush()
        assert caught.value.result.lease == Lease(2, "node-b")
        assert news == [writer]
        assert writer.buffer.closed
        assert journal.buffer(ref()) is None
        with pytest.raises(Fenced):
            writer.append(text("b"))
        with pytest.raises(Fenced):
            await writer.wait_for_room()
        with pytest.raises(Fenced):
            await writer.finish(DONE, Status.COMPLETED, b"{}")
        await other.flush()


async def test_finish_of_a_turn_that_another_owner_ended_raises_turn_ended(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        await faulty.claim(ref(), MINE, "node-b")
        await faulty.finish(ending(after=1, lease=Lease(2, "node-b")))
        with pytest.raises(TurnEnded):
            await writer.finish(DONE, Status.COMPLETED, b"{}")


async def test_append_to_a_deleted_turn_raises_log_lost(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        await faulty.delete(ref())
        writer.append(text("a"))
        with pytest.raises(LogLost):
            await writer.flush()


async def test_cancel_is_learnt_from_the_answer_to_an_append(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        news: list[Writer] = []
        await faulty.create(new())
        writer = journal.open_writer(claimed(), news.append)
        await faulty.cancel(ref())
        writer.append(text("a"))
        await writer.flush()
        writer.append(text("b"))
        await writer.flush()
        assert writer.stopped
        assert news == [writer]


async def test_stall_is_noticed_and_ends(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal, stall_changes(journal) as changes:
        writer = await begin(journal, faulty)
        faulty.gate.clear()
        writer.append(text("a"))
        assert changes == []
        await until(lambda: journal.stalled, "the stall is noticed")
        assert [writer.buffer.stalled] == [True]
        faulty.gate.set()
        await writer.flush()
    assert changes == [True, False]
    assert not writer.buffer.stalled


async def test_finished_log_stays_in_memory_for_a_while(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK, keep_seconds=30.0) as journal:
        with frozen_time() as time:
            writer = await begin(journal, faulty)
            await writer.finish(DONE, Status.COMPLETED, b"{}")
            writer.close()
            await time.advance(29.0)
            assert journal.buffer(ref()) is writer.buffer
            await time.advance(2.0)
            assert journal.buffer(ref()) is None


async def test_closed_writer_writes_nothing_and_forgets_its_log(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        writer.append(text("never"))
        writer.close()
        writer.close()
        await asyncio.sleep(0.01)
        assert faulty.batches == []
        assert journal.buffer(ref()) is None


async def test_entry_names_the_item_that_is_open_where_it_begins(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        writer = await begin(journal, faulty)
        writer.append([Event(Kind.ITEM_ADDED, data={"id": "msg_1", "type": "message", "output_index": 0})])
        await writer.flush()
        writer.append(text("a"))
        await writer.flush()
        entries = [decode(entry.entry) for entry in writer.buffer.entries[1:]]
    assert entries[0].open is None
    assert entries[1].open is not None
    assert entries[1].open.item_id == "msg_1"


async def test_big_backlog_goes_out_in_several_calls(faulty: Faulty) -> None:
    async with Journal(faulty, policy=CommitPolicy(max_turns=3)) as journal:
        writers = [await begin(journal, faulty, f"resp_{n}") for n in range(8)]
        for writer in writers:
            writer.append(text("x"))
        for writer in writers:
            await writer.flush()
    assert [len(batch) for batch in faulty.batches] == [3, 3, 2]


async def test_closing_the_journal_ends_a_call_in_flight(faulty: Faulty) -> None:
    journal = Journal(faulty, policy=QUICK)
    writer = await begin(journal, faulty)
    faulty.gate.clear()
    writer.append(text("a"))
    finishing = await begin(journal, faulty, "b")
    ended = asyncio.create_task(finishing.finish(DONE, Status.COMPLETED, b"{}"))
    await until_sent(faulty, calls=2)
    await journal.close()
    await journal.close()
    await asyncio.gather(ended, return_exceptions=True)
    assert ended.cancelled()


async def test_event_that_cannot_be_encoded_stops_its_own_turn(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        bad, good = await begin(journal, faulty, "bad"), await begin(journal, faulty, "good")
        bad.append([Event(Kind.ITEM_DONE, data=object())])
        good.append(text("a"))
        await good.flush()
        with pytest.raises(LogLost) as caught:
            await bad.flush()
        assert isinstance(caught.value.__cause__, TypeError)
        good.append([Event(Kind.ITEM_DONE, data=object())])
        with pytest.raises(LogLost):
            await good.finish(DONE, Status.COMPLETED, b"{}")
        assert journal.buffer(ref("good")) is None


async def test_answer_that_makes_no_sense_stops_the_batch_and_nobody_else(faulty: Faulty) -> None:
    async with Journal(faulty, policy=QUICK) as journal:
        one = await begin(journal, faulty, "one")
        faulty.faults = ["bug"]
        one.append(text("a"))
        with pytest.raises(LogLost):
            await one.flush()
        other = await begin(journal, faulty, "other")
        other.append(text("a"))
        await other.flush()


async def test_partitions_do_not_wait_for_each_other() -> None:
    store = Faulty(MemoryStore(partitions=16))
    async with Journal(store, policy=QUICK) as journal:
        writers = []
        for caller in ("alice", "bob"):
            await store.create(new(caller=caller))
            writers.append(journal.open_writer(claimed(caller=caller)))
        store.gate.clear()
        writers[0].append(text("a"))
        await until_sent(store)
        writers[1].append(text("b"))
        await until_sent(store, calls=2)
        assert [[append.ref.caller for append in batch] for batch in store.batches] == [["alice"], ["bob"]]
        store.gate.set()
        for writer in writers:
            await writer.flush()


async def test_finished_logs_take_no_more_than_their_bound(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first, and the latest stays whatever its size."""
    monkeypatch.setattr(journal_module, "KEPT_BYTES", 1)
    async with Journal(faulty, policy=QUICK) as journal:
        for n in range(3):
            writer = await begin(journal, faulty, f"resp_{n}")
            await writer.finish(DONE, Status.COMPLETED, b"{}")
            assert writer.kept_bytes > 1
        assert [journal.buffer(ref(f"resp_{n}")) is not None for n in range(3)] == [False, False, True]


async def test_a_finished_log_lets_its_runner_go(faulty: Faulty) -> None:
    class Owner:
        def on_news(self, writer: Writer) -> None:
            pass

    owner = Owner()
    gone = weakref.ref(owner)
    async with Journal(faulty, policy=QUICK) as journal:
        await faulty.create(new())
        writer = journal.open_writer(claimed(), owner.on_news)
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        writer.close()
        del owner
        assert gone() is None
        assert journal.buffer(ref()) is not None
