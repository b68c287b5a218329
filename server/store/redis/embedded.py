"""A redis-server as a child of this process, so that one machine needs nothing else.

It listens on a Unix socket in a private folder and keeps its data in the data folder, which it has to itself. When
this process dies, even by SIGKILL, the child gets SIGTERM and writes out what it has: nothing is lost, where a
SIGKILL of the child would lose up to 2 s. A child that ends by itself is started again on the same data, at the same
address.
"""

import asyncio
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from server.background import Supervisor
from server.settings import BadSetting
from server.store.errors import StoreError
from server.store.redis import data_folder
from server.store.redis.child import (
    RedisBinary,
    describe,
    find_redis_server,
    parse_version,
    refuse_older,
    spawn,
    stop,
    wait_until_ended,
    wait_until_ready,
)
from server.store.redis.client import Client
from server.store.redis.data_folder import (
    ADDRESS_NAME,
    LOCK_SECONDS,
    NODE,
    FolderInUse,
    FolderState,
    is_intact,
    locked,
    mark_clean,
    read_state,
    unmark_clean,
    write_private,
    write_state,
    written_by,
)

if TYPE_CHECKING:
    import subprocess

MAX_SOCKET_PATH = 107  # characters; redis-server truncates a longer path silently
STALL_SECONDS = 60.0  # without progress, until a start has failed
STOP_SECONDS = 30.0
STARTS = 3  # in a row that may be cut by a signal
MANY_ENDS, MANY_ENDS_SECONDS = 10, 60.0  # so many ends in so short a time, and it is not started again

log = structlog.get_logger(__name__)


class RedisLimits(msgspec.Struct, frozen=True):
    """How long it may take over what, in seconds."""

    stall: float = STALL_SECONDS  # a start, without progress
    stop: float = STOP_SECONDS


class EmbeddedRedis:
    """The Redis of one data folder, while it is locked."""

    def __init__(
        self,
        binary: RedisBinary,
        folder: Path,
        socket: Path,
        lock: int,
        limits: RedisLimits,
        on_restart: Callable[[], None],
    ) -> None:
        self.url = f"unix://{socket}"
        self.error = ""  # why it cannot be started again
        self.failed = asyncio.Event()
        self._binary = binary
        self._folder = folder
        self._socket = socket
        self._lock = lock
        self._limits = limits
        self._on_restart = on_restart
        self._runs: tuple[str, ...] = ()  # of earlier processes after which nothing was lost
        self._version = binary.version  # of the newest Redis that wrote here
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ready = False  # the child has loaded its data
        self._ends: deque[float] = deque(maxlen=MANY_ENDS)  # when it last ended by itself, monotonic time

    def intact_runs(self) -> tuple[str, ...]:
        """Run ids of the earlier processes from which nothing that was acknowledged is missing."""
        return self._runs

    async def start(self) -> None:
        """Start it on the data, unless it runs, and wait until those are loaded. Raises StoreError, BadSetting."""
        child = self._child
        if child is None or child.poll() is not None:
            child = self._child = self._launch()
        run = await wait_until_ready(child, self.url, self._folder, self._limits.stall)
        write_state(self._folder, FolderState(self._version, (*self._runs, run), in_use=True))
        self._is_ready = True

    def _launch(self) -> "subprocess.Popen[bytes]":
        folder = self._folder
        self._runs = read_state(folder).runs if is_intact(folder) else ()
        self._version = max(written_by(folder), self._binary.version, key=parse_version)
        unmark_clean(folder)
        write_state(folder, FolderState(self._version, self._runs, in_use=True))
        try:
            data_folder.close_files(folder)
            return spawn(self._binary.path, folder, self._socket, self._lock)
        except OSError as error:
            raise StoreError(f"{self._binary.path} cannot be started on {folder}: {error.strerror}") from error

    async def keep_running(self) -> None:
        """Start it again whenever it ends by itself. Returns when that fails, with `failed` set."""
        while not self.failed.is_set():
            if self._is_ready and self._child is not None:
                await wait_until_ended(self._child)
                self._is_ready = False
                log.error("redis_ended", status=self._child.returncode)
            try:
                await self._restart()
            except (StoreError, BadSetting, OSError) as error:
                self.error = str(error)
                self.failed.set()

    async def _restart(self) -> None:
        now = time.monotonic()
        self._ends.append(now)
        if len(self._ends) == MANY_ENDS and now - self._ends[0] < MANY_ENDS_SECONDS:
            raise StoreError(f"redis-server ended {MANY_ENDS} times within {MANY_ENDS_SECONDS:g} s")
        for attempt in range(1, STARTS + 1):
            self._on_restart()
            try:
                await self.start()
            except StoreError:
                was_killed = self._child is not None and (self._child.poll() or 0) < 0
                if attempt == STARTS or not was_killed:
                    raise
            else:
                log.warning("redis_restarted", seconds=round(time.monotonic() - now, 3))
                return

    async def close(self) -> None:
        """Let it write out what it has, and note how it left the data."""
        if self._child is None:
            return
        await stop(self._child, self._limits.stop)
        if self._is_ready and self._child.returncode == 0:
            state = read_state(self._folder)
            mark_clean(self._folder)
            write_state(self._folder, msgspec.structs.replace(state, in_use=False))


@asynccontextmanager
async def embedded(
    data_dir: Path,
    *,
    binary: str | None = None,
    holder: str = NODE,
    patience: float = LOCK_SECONDS,
    limits: RedisLimits | None = None,
    supervisor: Supervisor | None = None,
    on_restart: Callable[[], None] = lambda: None,
) -> AsyncIterator[EmbeddedRedis]:
    """Run redis-server on the data in `data_dir`, which `holder` has to itself. Raises StoreError, BadSetting.

    A node's Redis is used by commands too, by the address that it leaves in the folder. Enter it from the main thread:
    the child's death signal belongs to the thread that starts it.
    """
    async with locked(data_dir, holder, patience) as lock:
        newest = written_by(data_dir)
        found = find_redis_server(newest) if binary is None else describe(binary)
        refuse_older(found, newest)
        with _socket_folder() as folder:
            redis = EmbeddedRedis(found, data_dir, folder / "s", lock, limits or RedisLimits(), on_restart)
            try:
                await redis.start()
                keeping = (supervisor or Supervisor()).start("redis", redis.keep_running)
                try:
                    with _published(data_dir, redis.url, is_shared=holder == NODE):
                        yield redis
                finally:
                    await keeping.end()
            finally:
                await redis.close()


@contextmanager
def _published(data_dir: Path, url: str, *, is_shared: bool) -> Iterator[None]:
    """Leave the address in the folder, unless a command has the data to itself for a moment."""
    path = data_dir / ADDRESS_NAME
    path.unlink(missing_ok=True)
    if is_shared:
        write_private(path, url.encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


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


@asynccontextmanager
async def opened(data_dir: Path, command: str, *, patience: float = 30.0) -> AsyncIterator[str]:
    """The address of the Redis on this folder's data, for a command: that of the node which runs, or else of one that
    is started for the block.

    Waits `patience` seconds for a node that starts or ends, and for another command; then FolderInUse says who has the
    data. Raises StoreError, BadSetting.
    """
    async with AsyncExitStack() as stack:
        until = time.monotonic() + patience
        while (url := await node_address(data_dir)) is None:
            try:
                starting = embedded(data_dir, holder=f"the command '{command}'", patience=0.0)
                url = (await stack.enter_async_context(starting)).url
                break
            except FolderInUse:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(data_folder.POLL_SECONDS)
        yield url


async def node_address(data_dir: Path) -> str | None:
    """Where the Redis of the node on this folder answers; None where none does."""
    try:
        url = (data_dir / ADDRESS_NAME).read_text()
        client = Client(url)
    except (OSError, ValueError):
        return None
    try:
        await client.check()
    except StoreError:
        return None
    finally:
        await client.close()
    return url
