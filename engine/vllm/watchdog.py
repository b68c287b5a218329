"""Whether the engine still makes progress: a process can be alive and frozen, and its port open."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import psutil  # type: ignore[import-untyped]

from engine.base import EngineDead

PROGRESS = 0.1  # CPU seconds between two checks that count as computing


class Watchdog:
    """Sends the engine's loop one probe at a time; without an answer for too long it kills the engine's processes.

    Between two steps the loop answers within a millisecond. A step may be long (a model on a CPU that reads a long
    prompt), so that silence alone is no verdict there: a process that computes is not frozen. On a GPU the process
    waits for the device, and a device that hangs makes it wait for ever.

    Silence counts only while our own event loop could have read an answer: what it was late by is not the engine's.
    """

    def __init__(self, probe: Callable[[], Awaitable[object]], pids: list[int], *, patience: float, busy: bool) -> None:
        self._probe = probe
        self._processes = [psutil.Process(pid) for pid in pids]
        self._patience = patience  # seconds without a sign of life
        self._busy = busy  # whether computing counts as one
        self._answer: asyncio.Future[object] | None = None  # to the latest probe
        self._silence = 0.0  # seconds since the last sign of life
        self._checked_at = 0.0  # monotonic time of the last check
        self._cpu_at = 0.0  # CPU seconds of the engine by then

    def check(self) -> None:
        """Raise EngineDead, with the processes killed, for an engine that is frozen. Never waits.

        Call it at least four times within the patience.
        """
        now = time.monotonic()
        self._silence += min(now - self._checked_at, self._patience / 4)
        self._checked_at = now
        if self._answer is None or self._answer.done():
            self._answer = asyncio.ensure_future(self._probe())
            self._answer.add_done_callback(_ignore_error)
            self._note_life()
        elif self._busy and self._cpu_seconds() > self._cpu_at + PROGRESS:
            self._note_life()
        elif self._silence > self._patience:
            self._kill()  # vLLM then ends every generation on it, as of any engine that died
            raise EngineDead(f"the engine has not moved for {self._patience:g} s")

    def close(self) -> None:
        """Drop the probe that is out."""
        if self._answer is not None:
            self._answer.cancel()

    def _note_life(self) -> None:
        self._silence = 0.0
        self._cpu_at = self._cpu_seconds()

    def _kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _cpu_seconds(self) -> float:
        try:
            return sum(sum(process.cpu_times()[:2]) for process in self._processes)
        except psutil.Error:
            return 0.0


def _ignore_error(answer: asyncio.Future[object]) -> None:
    """A dead engine's answer is an error that somebody else reports; unread, asyncio would log it."""
    if not answer.cancelled():
        answer.exception()
