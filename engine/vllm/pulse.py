"""Whether the engine still turns: a process can be alive and frozen, and its port open."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import psutil  # type: ignore[import-untyped]

from engine.base import EngineDead


class Pulse:
    """Asks the engine's loop for an answer, one question at a time.

    Between two steps the loop answers within a millisecond. A step may be long (a model on a CPU that reads a long
    prompt), so that silence alone is no verdict there: a process that computes is not frozen. On a GPU the process
    waits for the device, and a device that hangs makes it wait for ever.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]], pids: list[int], *, patience: float, busy: bool) -> None:
        self._ask = ask
        self._processes = [psutil.Process(pid) for pid in pids]
        self._patience = patience  # seconds of silence
        self._busy = busy  # whether computing counts as a sign of life
        self._question: asyncio.Future[object] | None = None  # that was not answered yet
        self._alive = 0.0  # monotonic time of the last sign of life
        self._computed = 0.0  # CPU seconds of the engine by then

    def check(self) -> None:
        """Never waits; call it about once a second. Raises EngineDead, having made sure of it."""
        if self._question is None or self._question.done():
            self._question = asyncio.ensure_future(self._ask())
            self._question.add_done_callback(_ignore)
            self._sign()
        elif self._busy and self._cpu_seconds() > self._computed + 0.1:
            self._sign()
        elif time.monotonic() - self._alive > self._patience:
            self._kill()  # vLLM then ends every generation on it, as of any engine that died
            raise EngineDead(f"the engine has not moved for {self._patience:g} s")

    def close(self) -> None:
        if self._question is not None:
            self._question.cancel()

    def _sign(self) -> None:
        self._alive = time.monotonic()
        self._computed = self._cpu_seconds()

    def _kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _cpu_seconds(self) -> float:
        try:
            return sum(sum(process.cpu_times()[:2]) for process in self._processes)
        except psutil.Error:
            return 0.0


def _ignore(question: asyncio.Future[object]) -> None:
    """A dead engine's answer is an error that somebody else reports."""
    if not question.cancelled():
        question.exception()
