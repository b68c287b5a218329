"""One look at everybody from time to time: a timer for all of them, where each would need a task of its own."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

AT_ONCE = 500  # that are looked at before others get a turn

log = structlog.get_logger(__name__)


class Checked(Protocol):
    """Who is looked at."""

    def on_tick(self, now: float) -> None:
        """`now` is a time of `time.monotonic`. Must not wait for anything."""
        ...


M = TypeVar("M", bound=Checked)


class PeriodicChecker(Generic[M]):
    """Goes round for as long as there is anybody."""

    def __init__(self, every: Callable[[], float]) -> None:
        self.members: set[M] = set()
        self._every = every  # seconds between two rounds, asked for before each
        self._going: asyncio.Task[None] | None = None  # while there are members

    def add(self, member: M) -> None:
        """From the next round on."""
        self.members.add(member)
        if self._going is None:
            self._going = asyncio.create_task(self._go())

    def discard(self, member: M) -> None:
        """Not looked at any more. The last one to leave ends the task."""
        self.members.discard(member)
        if not self.members and self._going is not None:
            self._going.cancel()
            self._going = None

    async def _go(self) -> None:
        while True:
            await asyncio.sleep(self._every())
            for number, member in enumerate(list(self.members), 1):
                if member in self.members:
                    _look(member)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)


def _look(member: Checked) -> None:
    """One that fails is not to cost the others their look."""
    try:
        member.on_tick(time.monotonic())
    except Exception as error:
        log.error("a look failed", exc_info=error)
