"""The folder that a Redis of our own keeps its data in: who uses it, who wrote it, and whether anything was lost.

    redis.lock      held by whoever uses the data, and by its Redis; names the process
    redis.address   where the running node's Redis answers, for commands
    redis.state     which Redis wrote the data, and its processes between which nothing was lost
    redis.clean     every data file as the last orderly end left it; is there only while nobody uses the data
    redis.log       what Redis prints

A data file that is not exactly as `redis.clean` says was put there by somebody else, an older copy for example, and
acknowledged entries may be missing. An inode's time of change cannot be set, only be had anew, so a copy is always told
from the original; a snapshot of the whole volume is not.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from server.settings import BadSetting
from server.store.errors import StoreError

LOG_NAME = "redis.log"
LOCK_NAME = "redis.lock"
ADDRESS_NAME = "redis.address"
STATE_NAME = "redis.state"
CLEAN_NAME = "redis.clean"
NODE = "the node"  # what a lock's holder is called, as opposed to a command
LOCK_SECONDS = 3.0  # for the Redis of a node that has just died to end
COMMAND_SECONDS = 60.0  # for a command to be done with the data
POLL_SECONDS = 0.1
KEPT_RUNS = 64  # processes of Redis that are remembered: no turn waits for longer

log = structlog.get_logger(__name__)

FileFacts = tuple[int, int, int, int]  # device, inode, time of change in ns, size


class FolderInUse(StoreError):  # noqa: N818
    """Somebody else uses the data."""


class FolderState(msgspec.Struct, frozen=True):
    """What is known of the data besides the data. A file that is damaged counts as one that is not there."""

    version: str = ""  # of the newest Redis that wrote here
    runs: tuple[str, ...] = ()  # run ids, the latest last: nothing was lost from each to the next
    in_use: bool = False  # it was started, and has not been stopped by whoever started it


class LockHolder(msgspec.Struct, frozen=True):
    """Who took the lock last."""

    name: str
    pid: int

    def __str__(self) -> str:
        return f"{self.name} with process id {self.pid}"


@contextmanager
def usable(path: Path) -> Iterator[Path]:
    """Turns what is wrong with a file of ours in the data folder into BadSetting."""
    try:
        yield path
    except OSError as error:
        raise BadSetting("DATA_DIR", f"'{path}' cannot be used: {error.strerror}") from None


# -- access ----------------------------------------------------------------------------------------------------------


def close_folder(folder: Path) -> None:
    """Make the folder, for this user alone. One that others made for more than our data keeps its mode.

    Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    ours = (folder / LOCK_NAME).exists() or not any(folder.iterdir())
    is_shared = facts.st_mode & 0o1000  # sticky, as /tmp is
    if facts.st_mode & 0o077 and facts.st_uid == os.geteuid() and ours and not is_shared:
        folder.chmod(0o700)


def close_files(folder: Path) -> None:
    """Take from others what an earlier release let them read. Raises OSError."""
    for path in [folder / LOG_NAME, *_data_paths(folder)]:
        if path.exists() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
    parts = folder / "appendonlydir"
    if parts.is_dir():
        parts.chmod(0o700)


@asynccontextmanager
async def locked(folder: Path, holder: str, patience: float = LOCK_SECONDS) -> AsyncIterator[int]:
    """Hold the folder's lock; gives its descriptor, for the child, which may write on when this process is dead.

    Waits `patience` seconds for a node, and longer for a command, which will be done soon. Raises FolderInUse.
    """
    with usable(folder / LOCK_NAME) as path:
        close_folder(folder)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        began = time.monotonic()
        while not _lock(lock):
            held_by = lock_holder(folder)
            if patience and held_by is not None and held_by.name != NODE:
                patience = COMMAND_SECONDS
            if time.monotonic() - began >= patience:
                advice = "stop it, or give this one a folder of its own with DATA_DIR"
                raise FolderInUse(f"{held_by or 'another server'} uses {folder}: {advice}")
            await asyncio.sleep(POLL_SECONDS)
        os.ftruncate(lock, 0)
        os.pwrite(lock, msgspec.json.encode(LockHolder(holder, os.getpid())), 0)
        yield lock
    finally:
        os.close(lock)


def _lock(lock: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def lock_holder(folder: Path) -> LockHolder | None:
    """Who took the lock last, so far as that is known."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / LOCK_NAME).read_bytes(), type=LockHolder)
    return None


# -- what is known of the data ---------------------------------------------------------------------------------------


def read_state(folder: Path) -> FolderState:
    """What the last one to use the data wrote down."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / STATE_NAME).read_bytes(), type=FolderState)
    return FolderState()


def write_state(folder: Path, state: FolderState) -> None:
    """Raises BadSetting."""
    runs = state.runs[-KEPT_RUNS:]
    write_private(folder / STATE_NAME, msgspec.json.encode(msgspec.structs.replace(state, runs=runs)))


def written_by(folder: Path) -> str:
    """The version of Redis that wrote the data, "" where there are none. Releases before 0.4.0 left it in the log."""
    if not data_files(folder):
        return ""
    if version := read_state(folder).version:
        return version
    with suppress(OSError):
        _, found, rest = (folder / LOG_NAME).read_bytes().rpartition(b"Redis version=")
        if found:
            return rest.split(b",", 1)[0].decode(errors="replace")
    return "7.0" if (folder / "appendonlydir").is_dir() else ""  # in that form since 7.0


def is_intact(folder: Path) -> bool:
    """Whether the data are all that the last Redis here had acknowledged. Called while it does not run."""
    files = data_files(folder)
    marked = _marked_files(folder)
    if marked is not None:
        return marked == files
    if not files:
        return True
    return read_state(folder).in_use and _ended_in_order(folder, files)


def mark_clean(folder: Path) -> None:
    """Write down how an orderly end left the data. Raises BadSetting."""
    write_private(folder / CLEAN_NAME, msgspec.json.encode(data_files(folder)))


def unmark_clean(folder: Path) -> None:
    """From now on the data change. On the disk before the first change is. Raises BadSetting."""
    with usable(folder / CLEAN_NAME) as path:
        path.unlink(missing_ok=True)
        _sync(folder)


def data_files(folder: Path) -> dict[str, FileFacts]:
    """Every file that Redis loads, by its path in the folder."""
    found: dict[str, FileFacts] = {}
    for path in _data_paths(folder):
        with suppress(FileNotFoundError):
            facts = path.stat()
            found[str(path.relative_to(folder))] = (facts.st_dev, facts.st_ino, facts.st_ctime_ns, facts.st_size)
    return found


def _data_paths(folder: Path) -> list[Path]:
    return sorted([*folder.glob("appendonly.aof"), *folder.glob("dump.rdb"), *folder.glob("appendonlydir/*")])


def _marked_files(folder: Path) -> dict[str, FileFacts] | None:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / CLEAN_NAME).read_bytes(), type=dict[str, FileFacts])
    return None


def _ended_in_order(folder: Path, files: dict[str, FileFacts]) -> bool:
    """Whether Redis, whose node was killed, wrote everything out, and nobody has touched the data since.

    Its last line is the last thing that it writes. What was put there later was changed later.
    """
    path = folder / LOG_NAME
    try:
        said, ended = path.read_bytes(), path.stat().st_mtime_ns
    except OSError:
        return False
    said_goodbye = said.rfind(b"bye bye") > said.rfind(b"Redis is starting")
    return said_goodbye and all(changed <= ended for _, _, changed, _ in files.values())


# -- files of ours ---------------------------------------------------------------------------------------------------


def write_private(path: Path, content: bytes) -> None:
    """Replace a file that only this user may read, as a whole, on the disk. Raises BadSetting."""
    with usable(path):
        temporary = path.with_name(path.name + ".new")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        temporary.replace(path)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
