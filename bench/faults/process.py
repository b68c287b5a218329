"""A program that may be killed, frozen and started again. Ended by its process id, never by its name."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from signal import SIGKILL, Signals
from time import perf_counter

POLL = 0.02  # seconds between two looks
TAIL = 2000  # characters of output that an error shows
SERVERS = "/usr/local/sbin:/usr/sbin"  # where distributions put some servers, and which only root's PATH has


class NotReady(Exception):  # noqa: N818 - reads as what happened
    """A program ended, or did not answer in time; says what it printed last."""


def find_program(name: str) -> str | None:
    """The path of an installed program, also of one that only root's PATH leads to; None where there is none."""
    return shutil.which(name) or shutil.which(name, path=SERVERS)


class Program:
    """One process at a time, with everything it prints in one file."""

    def __init__(self, name: str, command: Sequence[str], output: Path, folder: Path) -> None:
        self.name = name
        self.command = command
        self.output = output
        self.folder = folder  # in which it runs
        self.process: asyncio.subprocess.Process | None = None  # while it may be alive

    async def start(self) -> None:
        """Start it, and do not wait until it answers."""
        with self.output.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder
            )

    async def ready(self, answers: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait until it answers. Raises NotReady."""
        until = perf_counter() + seconds
        while not await answers():
            if self.process is None or self.process.returncode is not None:
                raise NotReady(f"{self.name} ended: {self._tail()}")
            if perf_counter() > until:
                raise NotReady(f"{self.name} is not ready after {seconds} s: {self._tail()}")
            await asyncio.sleep(POLL)

    def signal(self, number: Signals) -> None:
        """Send it, if there is anybody."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def end(self, number: Signals = SIGKILL, seconds: float = 10.0) -> int | None:
        """Send a signal and wait for the exit status; None after a time in which it did not end: it is killed then."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(seconds):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            return None

    def _tail(self) -> str:
        return self.output.read_text(errors="replace")[-TAIL:] if self.output.exists() else ""
