"""One log's end in memory: who is woken, and what a sink takes."""

import asyncio
from collections.abc import Callable

import pytest

from server.log.buffer import LogBuffer
from server.store.errors import PositionLost
from server.store.types import LogEntry, TurnRef
from tests.server.log.sinks import RecordingSink

CHANGES: dict[str, Callable[[LogBuffer], None]] = {
    "entries": lambda buffer: buffer.extend(entries(3)),
    "closed": lambda buffer: buffer.close(),
    "lost": lambda buffer: buffer.lose(PositionLost(TurnRef("alice", "resp_1"), 2, None, -1)),
    "stalled": lambda buffer: buffer.set_stalled(stalled=True),
}


def entries(*last_seqs: int) -> list[LogEntry]:
    """Entries that end at these numbers, the first of which follows on the number below its own."""
    befores = (last_seqs[0] - 1, *last_seqs)
    return [LogEntry(last, b"", before) for before, last in zip(befores, last_seqs, strict=False)]


async def waiting(buffer: LogBuffer, sink: RecordingSink | None = None) -> asyncio.Task[None]:
    task = asyncio.create_task(buffer.wait_changed(sink))
    await asyncio.sleep(0)
    return task


async def woken(task: asyncio.Task[None]) -> bool:
    """Whether a change ended the wait, which is cancelled otherwise."""
    await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


@pytest.mark.parametrize(
    ("after", "last_seqs"), [(-1, [2, 5, 6]), (2, [5, 6]), (3, [5, 6]), (5, [6]), (6, []), (99, [])]
)
def test_entries_after_a_position_hold_events_above_it(after: int, last_seqs: list[int]) -> None:
    buffer = LogBuffer(-1, entries(2, 5, 6))
    assert [entry.last_seq for entry in buffer.entries_after(after)] == last_seqs


def test_contains_the_numbers_at_which_entries_end() -> None:
    buffer = LogBuffer(-1, entries(2, 5))
    assert [seq for seq in range(-1, 8) if seq in buffer] == [2, 5]


def test_entries_that_are_there_already_are_not_added_again() -> None:
    buffer = LogBuffer(-1, entries(2, 5))
    buffer.extend(entries(2, 5, 6))
    assert [entry.last_seq for entry in buffer.entries] == [2, 5, 6]


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_wakes_a_reader_without_a_sink(change: str) -> None:
    buffer = LogBuffer(2)
    reader = await waiting(buffer)
    CHANGES[change](buffer)
    assert await woken(reader)


@pytest.mark.parametrize("change", sorted(CHANGES.keys() - {"entries"}))
async def test_change_that_no_sink_can_take_wakes_its_reader(change: str) -> None:
    buffer = LogBuffer(2)
    reader = await waiting(buffer, RecordingSink())
    CHANGES[change](buffer)
    assert await woken(reader)


async def test_nothing_new_wakes_nobody() -> None:
    buffer = LogBuffer(2, stalled=True)
    sink = RecordingSink()
    readers = [await waiting(buffer, sink), await waiting(buffer)]
    buffer.extend(entries(1, 2))
    buffer.set_stalled(stalled=True)
    assert [await woken(reader) for reader in readers] == [False, False]
    assert sink.entries == []


async def test_sink_that_takes_entries_gets_each_once_and_its_reader_sleeps_on() -> None:
    buffer = LogBuffer(2)
    sink = RecordingSink()
    reader = await waiting(buffer, sink)
    buffer.extend(entries(3, 4))
    buffer.extend(entries(4, 5))
    assert not await woken(reader)
    assert [entry.last_seq for entry in sink.entries] == [3, 4, 5]


async def test_sink_that_declines_is_not_asked_again_before_its_reader_ran() -> None:
    """What comes next would overtake what the reader is still to read."""
    buffer = LogBuffer(2)
    answers = iter([False])
    sink = RecordingSink(lambda: next(answers))
    reader = await waiting(buffer, sink)
    buffer.extend(entries(3))
    buffer.extend(entries(4))
    assert await woken(reader)
    assert sink.entries == []


async def test_cancelled_wait_is_offered_nothing_more() -> None:
    buffer = LogBuffer(2)
    sink = RecordingSink()
    assert not await woken(await waiting(buffer, sink))
    buffer.extend(entries(3))
    assert sink.entries == []
