"""The whole program as a user starts it: `python -m server` in a process of its own, ended by its id."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, Signals

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Program:
    """One server that may be killed and started again on the same data and port. `root` is the tree whose code runs."""

    def __init__(self, folder: Path, *flags: str, root: Path = ROOT) -> None:
        self.folder = folder
        self.root = root
        self.port = free_port()
        self.flags = flags
        self.descriptors: int | None = None  # how many it may open; None: as many as this process
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        """Where people open it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """Where programs open it."""
        return f"ws://127.0.0.1:{self.port}/v1/responses"

    def start(self) -> None:
        """Start it, and do not wait."""
        command = [
            sys.executable,
            "-m",
            "server",
            "--data-dir",
            str(self.folder),
            "--port",
            str(self.port),
            *self.flags,
        ]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        if self.descriptors is not None:
            command = ["prlimit", f"--nofile={self.descriptors}", *command]
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(command, cwd=self.root, env=environment, stdout=output, stderr=output)

    def output(self) -> str:
        """Everything it printed."""
        return (self.folder / "output").read_text()

    def wait(self, path: str, seconds: float = 240.0) -> float:
        """Wait until `path` answers 200; the seconds that it took."""
        begin = time.monotonic()
        wait_until(lambda: self._answers(path), f"{path} answers\n{self.output()[-3000:]}", seconds)
        return time.monotonic() - begin

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: Signals = SIGKILL) -> int:
        """End it; its exit status."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(90)

    def family(self) -> set[int]:
        """Its process id and those of all its descendants."""
        assert self.process is not None
        found = {self.process.pid}
        while True:
            more = {pid for pid, parent in _parents().items() if parent in found} - found
            if not more:
                return found
            found |= more

    def _answers(self, path: str) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}: {self.output()[-3000:]}")
        try:
            with urllib.request.urlopen(self.http + path, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


@contextmanager
def program(*flags: str, root: Path = ROOT) -> Iterator[Program]:
    """A server with an empty data folder, not started yet; afterwards nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    server = Program(folder, *flags, root=root)
    try:
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def alive(pids: set[int]) -> dict[int, str]:
    """Those of the processes that run, with their command lines."""
    return {pid: _command(pid) for pid in pids if _state(pid) not in {"", "Z", "X"}}


def shared_memory() -> set[Path]:
    """Segments that Python programs of this user have made; others on this machine come and go meanwhile."""
    return {path for path in Path("/dev/shm").glob("psm_*") if path.stat().st_uid == os.getuid()}


def _parents() -> dict[int, int]:
    stats = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid: int(fields[1]) for pid, fields in stats.items() if fields}


def _stat(pid: int) -> list[str]:
    """State, parent and so on: what follows the name in /proc/PID/stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
