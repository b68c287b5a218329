"""A log that grows while its quiet turn is being checked is not lost."""

import asyncio

from server.log.subscriber import LogSubscriber
from server.store.memory.store import MemoryStore
from server.store.types import LogPage, TurnRef
from tests.server.log.test_subscriber import SHORT, everything
from tests.server.store.make import append, ending, new, ref
from tests.waiting import until


class SlowStore(MemoryStore):
    """Its second read is answered when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.reading = asyncio.Event()
        self.answer = asyncio.Event()

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        page = await super().read(ref, after, limit)
        self.reads += 1
        if self.reads == 2:
            self.reading.set()
            await self.answer.wait()
        return page


async def test_log_that_grows_while_its_turn_is_checked_is_not_lost() -> None:
    store = SlowStore()
    await store.create(new())
    async with LogSubscriber(store, policy=SHORT) as subscriber:
        seen = asyncio.create_task(everything(subscriber, -1))
        await store.reading.wait()  # the check, after a quiet while
        await store.append([append()])  # comes through the blocking read at once
        mirror = subscriber._tailers[0].mirror(ref())
        assert mirror is not None
        await until(lambda: mirror.last_seq == 2, "the entry came")
        store.answer.set()
        await until(lambda: mirror.last_seq == 2 and store.reads > 1, "the answer came")
        await store.finish(ending(after=2))
        assert await seen == [(-1, 1), (1, 2), (2, 3)]
