"""When text goes out: the first at once, more of it on merge ticks that all turns share."""

import asyncio
import random

from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.protocol.entry import Event, Kind
from server.protocol.status import Status
from tests.frozen import frozen_time
from tests.server.store.faulty import Faulty
from tests.server.store.make import DONE, begin, text, words


async def test_the_first_token_goes_at_once_and_those_of_one_tick_share_an_event(faulty: Faulty) -> None:
    async with Journal(faulty, policy=CommitPolicy(merge_seconds=0.2)) as journal:
        with frozen_time() as time:
            writer = await begin(journal, faulty)
            writer.append(text("a"))
            await writer.flush()  # without any time
            for word in "bcd":
                writer.append(text(word))
                writer.append([])
                await time.advance(0.005)
            assert writer.last_seq == 3
            assert len(faulty.batches) == 1
            await time.advance(0.4)
            await writer.flush()
    assert [words(append.entry) for batch in faulty.batches for append in batch] == [["a"], ["bcd"]]


async def test_turns_whose_text_merges_go_out_together(faulty: Faulty) -> None:
    async with Journal(faulty, policy=CommitPolicy(merge_seconds=0.1)) as journal:
        writers = [await begin(journal, faulty, f"resp_{n}") for n in range(8)]
        with frozen_time() as time:
            for writer in writers:
                writer.append(text("first"))
                await writer.flush()
            for writer in writers:
                writer.append(text("second"))
                await time.advance(0.001)
            await time.advance(0.2)
            await asyncio.gather(*(writer.flush() for writer in writers))
    assert len(faulty.batches[-1]) == 8


async def test_a_turn_whose_merge_timer_fires_early_goes_out_once(faulty: Faulty) -> None:
    """uvloop's timers count whole milliseconds: what comes between timer and tick must not begin another wait."""
    async with Journal(faulty, policy=CommitPolicy(merge_seconds=0.02)) as journal:
        writer = await begin(journal, faulty)
        with frozen_time() as time:
            writer.append(text("a"))
            await writer.flush()
            writer.append(text("b"))
            time.now = writer._text_due - 0.0005
            writer._committer._end_merging()
            writer.append([])
            writer.append([Event(Kind.REASONING, "c")])
            await writer.flush()
            await time.advance(0.05)
    assert [words(append.entry) for batch in faulty.batches for append in batch] == [["a"], ["b", "c"]]


async def test_the_terminal_event_does_not_wait_for_a_tick(faulty: Faulty) -> None:
    async with Journal(faulty, policy=CommitPolicy(merge_seconds=60)) as journal:
        writer = await begin(journal, faulty)
        writer.append(text("a"))
        await writer.flush()
        writer.append(text("b"))
        await writer.finish(DONE, Status.COMPLETED, b"{}")
    assert [words(append.entry) for batch in faulty.batches for append in batch] == [["a"], ["b", ""]]


async def test_nothing_is_lost_or_written_twice_however_tokens_fall(faulty: Faulty) -> None:
    """Kinds that do not join, chunks without text, and every place between two ticks."""
    rng = random.Random(1)
    async with Journal(faulty, policy=CommitPolicy(merge_seconds=0.004)) as journal:
        writer = await begin(journal, faulty)
        sent_text = ""
        for number in range(400):
            word = f"{number} " if rng.random() < 0.8 else ""
            sent_text += word
            writer.append([Event(rng.choice((Kind.TEXT, Kind.TEXT, Kind.REASONING)), word)] if word else [])
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.003)))
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        logged = [entry for entry in writer.buffer.entries if entry.entry != b"first"]
    assert "".join("".join(words(entry.entry)) for entry in logged) == sent_text
    sent = [append for batch in faulty.batches for append in batch]
    numbers = [(entry.after_seq, entry.last_seq) for entry in logged]
    assert [(append.after_seq, append.last_seq) for append in sent] == numbers  # none of them empty
    assert [after for after, _ in numbers] == [1, *(last for _, last in numbers[:-1])]
