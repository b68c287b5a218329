"""One timer for many members, where each would need a task of its own: sockets are counted in thousands."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from server.background import SupervisedTask, Supervisor

AT_ONCE = 500  # members that are checked before others get a turn of the loop

log = structlog.get_logger(__name__)


class Checked(Protocol):
    """What a checker looks after."""

    def on_tick(self, now: float) -> None:
        """Do what time alone brings; `now` is a time of `time.monotonic`. Must not wait for anything."""
        ...


M = TypeVar("M", bound=Checked)


class PeriodicChecker(Generic[M]):
    """Calls `on_tick` of every member, again and again, for as long as there are any. It owns one task then."""

    def __init__(self, interval: Callable[[], float], supervisor: Supervisor | None = None) -> None:
        self.members: set[M] = set()
        self._interval = interval  # seconds between two ticks, asked for before each
        self._supervisor = supervisor or Supervisor()
        self._task: SupervisedTask | None = None  # while there are members

    def add(self, member: M) -> None:
        """From the next tick on."""
        self.members.add(member)
        if self._task is None:
            self._task = self._supervisor.start("socket_checker", self._run)

    def discard(self, member: M) -> None:
        """Not checked any more. The last one to leave ends the task."""
        self.members.discard(member)
        if not self.members and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval())
            for number, member in enumerate(list(self.members), 1):
                if member in self.members:
                    _check(member)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)


def _check(member: Checked) -> None:
    """One that fails must not cost the others their tick."""
    try:
        member.on_tick(time.monotonic())
    except Exception as error:
        log.error("tick_failed", exc_info=error)
