"""A turn that is written word by word while a test breaks things, and the entries that its viewers get."""

import asyncio
from itertools import count

from server.log.journal import Journal, Writer
from server.log.subscriber import LogNotice, LogSubscriber
from server.protocol.entry import Event, Kind
from server.protocol.status import Status
from server.store.contracts import Store
from server.store.types import LogEntry, TurnRef
from tests.server.store.make import ALICE, DONE, MINE, ref


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
    return journal.open_writer(ref(caller=caller), MINE, 1, None, [LogEntry(1, b"first")])


async def ended(store: Store, writer: Writer) -> list[bytes]:
    """End it; its entries. Its log has every number once, and is what the writer wrote."""
    await writer.finish(DONE, Status.COMPLETED, b"{}")
    page = await store.read(writer.ref, -1, 100_000)
    assert page.last_seq == writer.last_seq
    tops = [-1, *(entry.last_seq for entry in page.entries)]
    assert [entry.after_seq for entry in page.entries] == tops[:-1]
    assert list(page.entries) == writer.tail.entries
    return [entry.entry for entry in page.entries]


async def viewed(subscriber: LogSubscriber, turn: TurnRef) -> tuple[list[bytes], list[LogNotice]]:
    """The entries and notices that a viewer gets of a turn. Every second run of entries is accepted as it is pushed."""
    entries: list[bytes] = []
    notices: list[LogNotice] = []
    offers = count()

    def push(run: list[LogEntry]) -> bool:
        if next(offers) % 2:
            return False
        entries.extend(entry.entry for entry in run)
        return True

    async for one in subscriber.subscribe(turn, -1, push):
        if isinstance(one, LogNotice):
            notices.append(one)
        else:
            entries += [entry.entry for entry in one]
    return entries, notices
