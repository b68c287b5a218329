"""When a journal stalled while a test broke things."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.log.journal import Journal

EVERY = 0.002  # seconds between two looks: far below any stall that a test makes


@asynccontextmanager
async def stall_changes(journal: Journal) -> AsyncIterator[list[bool]]:
    """Each change of `journal.stalled`, which is False at first, up to the end of the block."""
    changes: list[bool] = []

    def observe() -> None:
        if journal.stalled != (changes[-1] if changes else False):
            changes.append(journal.stalled)

    async def observe_forever() -> None:
        while True:
            observe()
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(observe_forever())
    try:
        yield changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        observe()
