"""Starts servers for a measurement, waits until they answer, and ends them with everything that they started."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.processes import table

ROOT = Path(__file__).parents[1]
POLL = 0.2  # seconds


class NotReady(Exception):  # noqa: N818
    """A server that ended, or did not answer in time. Its last lines are in the sentence."""


class Running:
    """A process of its own group."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self.output = folder / f"{Path(words[0]).name}-{time.monotonic_ns()}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self.process.pid

    def wait_ready(self, url: str, seconds: float = 300.0) -> float:
        """Wait until `url` answers 200; the seconds that took. Raises NotReady."""
        began = time.monotonic()
        while not _answers(url):
            if self.process.poll() is not None:
                raise NotReady(f"ended with status {self.process.returncode}: {self.tail()}")
            if time.monotonic() - began > seconds:
                raise NotReady(f"{url} did not answer within {seconds:.0f} s: {self.tail()}")
            time.sleep(POLL)
        return time.monotonic() - began

    def tail(self) -> str:
        """The last 2,000 characters of its output."""
        return self.output.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """Ask it to end, then end its group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        while any(each.group == self.pid and each.rss for each in table().values()):
            time.sleep(POLL / 10)


@contextlib.contextmanager
def started(words: Sequence[str], folder: Path) -> Iterator[Running]:
    """Run a program until the block ends."""
    running = Running(words, folder)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that vanishes; its path is short, since names of Unix sockets are limited."""
    path = Path(tempfile.mkdtemp(prefix="tl-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def python(variables: dict[str, str], *words: str) -> list[str]:
    """The words that run this Python with some variables set, and without one that makes every start slow.

    A node of ours that is told to end does so at once: nobody waits for answers when a measurement is over.
    """
    variables = {"DRAIN_SECONDS": "0", **variables}
    return ["env", "-u", "PYTHONDONTWRITEBYTECODE", *(f"{k}={v}" for k, v in variables.items()), sys.executable, *words]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False
