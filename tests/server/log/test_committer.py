"""When text goes out: the first at once, more of it on beats that all turns share."""

import asyncio
import random

from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.protocol.entry import Event, Kind
from server.protocol.status import Status
from tests.server.store.faulty import Faulty
from tests.server.store.make import DONE, begin, text, words


async def test_the_first_token_goes_at_once_and_those_of_one_beat_share_an_event(faulty: Faulty) -> None:
    async with Journal(faulty, pace=CommitPolicy(merge_seconds=0.2)) as journal:
        writer = await begin(journal, faulty)
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.append(text("a"))
        await writer.flushed()
        assert loop.time() - began < 0.05
        for word in "bcd":
            writer.append(text(word))
            writer.append([])
            await asyncio.sleep(0.005)
        assert writer.last_seq == 3
        await writer.flushed()
    assert [words(one.entry) for batch in faulty.batches for one in batch] == [["a"], ["bcd"]]


async def test_turns_that_rest_go_out_together(faulty: Faulty) -> None:
    async with Journal(faulty, pace=CommitPolicy(merge_seconds=0.1)) as journal:
        writers = [await begin(journal, faulty, f"resp_{n}") for n in range(8)]
        for writer in writers:
            writer.append(text("first"))
            await writer.flushed()
        for writer in writers:
            writer.append(text("second"))
            await asyncio.sleep(0.001)
        await asyncio.gather(*(writer.flushed() for writer in writers))
    assert len(faulty.batches[-1]) == 8


async def test_a_turn_that_is_roused_a_little_early_goes_out_once(faulty: Faulty) -> None:
    """uvloop's timers count whole milliseconds: what comes between timer and beat must not begin another rest."""
    async with Journal(faulty, pace=CommitPolicy(merge_seconds=0.02)) as journal:
        writer = await begin(journal, faulty)
        loop = asyncio.get_running_loop()
        writer.append(text("a"))
        await writer.flushed()
        writer.append(text("b"))
        while loop.time() < writer._due - 0.0005:
            pass
        writer._scribe._rouse()
        writer.append([])
        writer.append([Event(Kind.REASONING, "c")])
        await writer.flushed()
        await asyncio.sleep(0.05)
    assert [words(one.entry) for batch in faulty.batches for one in batch] == [["a"], ["b", "c"]]


async def test_the_end_does_not_rest(faulty: Faulty) -> None:
    async with Journal(faulty, pace=CommitPolicy(merge_seconds=60)) as journal:
        writer = await begin(journal, faulty)
        writer.append(text("a"))
        await writer.flushed()
        writer.append(text("b"))
        await writer.finish(DONE, Status.COMPLETED, b"{}")
    assert [words(one.entry) for batch in faulty.batches for one in batch] == [["a"], ["b", ""]]


async def test_nothing_is_lost_or_written_twice_however_tokens_fall(faulty: Faulty) -> None:
    """Kinds that do not join, chunks without text, and every place between two beats."""
    rng = random.Random(1)
    async with Journal(faulty, pace=CommitPolicy(merge_seconds=0.004)) as journal:
        writer = await begin(journal, faulty)
        said = ""
        for number in range(400):
            word = f"{number} " if rng.random() < 0.8 else ""
            said += word
            writer.append([Event(rng.choice((Kind.TEXT, Kind.TEXT, Kind.REASONING)), word)] if word else [])
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.003)))
        await writer.finish(DONE, Status.COMPLETED, b"{}")
        logged = [one for one in writer.tail.entries if one.entry != b"first"]
    assert "".join("".join(words(one.entry)) for one in logged) == said
    sent = [one for batch in faulty.batches for one in batch]
    assert [(one.after_seq, one.last_seq) for one in sent] == [
        (one.after_seq, one.last_seq) for one in logged
    ]  # none of them empty
    assert [one.after_seq for one in logged] == [1, *(one.last_seq for one in logged[:-1])]
