"""A turn that is written word by word while a test breaks things, and the entries that its viewers get."""

import asyncio
from itertools import cycle

from server.log.journal import Journal, Writer
from server.log.subscriber import LogNotice, LogSubscriber
from server.protocol.entry import Event, Kind
from server.protocol.status import Status
from server.store.contracts import Store
from server.store.types import TurnRef
from tests.server.log.sinks import RecordingSink
from tests.server.store.make import ALICE, DONE, claimed


async def written(
    journal: Journal, store: Store, disturb: "asyncio.Task[None]", *, caller: str = ALICE, words: int = 100
) -> list[bytes]:
    """Write a turn until a disturbance is over, of at least so many words; the entries of its log."""
    writer = begun(journal, caller)
    n = 0
    async with asyncio.timeout(60):
        while not disturb.done() or n < words:
            writer.append([Event(Kind.TEXT, f"{n}", (n,))])
            await writer.wait_for_room()
            await asyncio.sleep(0.003)
            n += 1
        await disturb
        return await ended(store, writer)


def begun(journal: Journal, caller: str = ALICE) -> Writer:
    """A writer for the turn that `make.new()` makes."""
    return journal.open_writer(claimed(caller=caller))


async def ended(store: Store, writer: Writer) -> list[bytes]:
    """End it; its entries. Its log has every number once, and is what the writer wrote."""
    await writer.finish(DONE, Status.COMPLETED, b"{}")
    page = await store.read(writer.ref, -1, 100_000)
    assert page.last_seq == writer.last_seq
    tops = [-1, *(logged.last_seq for logged in page.entries)]
    assert [logged.after_seq for logged in page.entries] == tops[:-1]
    assert list(page.entries) == writer.buffer.entries
    return [logged.entry for logged in page.entries]


async def viewed(subscriber: LogSubscriber, turn: TurnRef) -> tuple[list[bytes], list[LogNotice]]:
    """What a viewer is shown of a turn, and told beside it. It takes each second run of entries at once, if it can."""
    notices: list[LogNotice] = []
    every_second = cycle((True, False))
    sink = RecordingSink(lambda: next(every_second))
    async for one in subscriber.subscribe(turn, -1, sink):
        if isinstance(one, LogNotice):
            notices.append(one)
        else:
            sink.entries += one
    return [logged.entry for logged in sink.entries], notices
