"""Calls to one Redis: pooled connections, scripts, and the server's complaints in the words of `store.base`.

redis-py's own client would repeat writes, start a task for every send, pack in Python and answer with its own
parsers; its connections, taken alone, do none of that.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as TimedOut

from server.store.errors import StoreDown, StoreError, StoreFull

Arg = str | bytes | int
FULL = ("used memory > 'maxmemory'", "MISCONF")
DOWN = (ConnectionError, TimedOut, OSError, ReadOnlyError, ClusterDownError, AskError, TryAgainError)
DOWN_WORDS = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY ")
OLDEST = (6, 2)
ELSEWHERE = {"cluster": "redis+cluster://", "sentinel": "redis+sentinel://"}


class LuaScript:
    """One Lua file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = files("server.store.redis").joinpath("lua", f"{name}.lua").read_text()
        self.sha = sha1(self.source.encode()).hexdigest()


def address(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if at else ''}{host}{parts.path}"


class Client:
    """One server. At most `limit` connections at a time; each call has one to itself."""

    what = "one Redis"

    def __init__(self, url: str, *, timeout: float = 2.0, limit: int = 16) -> None:
        self.address = address(url)
        self._timeout = timeout
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            decode_responses=False,
            socket_timeout=None,  # asyncio.timeout() around the whole call does it without a task
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        self._idle: list[AbstractConnection] = []
        self._lent: set[AbstractConnection] = set()
        self._free = asyncio.Semaphore(limit)
        self._closed = False

    async def call(self, *args: Arg) -> Any:
        """One command. Raises StoreDown, StoreFull, StoreError. Cancelling it drops its connection."""
        return await self._answer(args, self._timeout)

    async def run(self, script: LuaScript, keys: Iterable[str], args: Iterable[Arg]) -> Any:
        """One script by its digest; a server that does not know it is sent the source."""
        names = list(keys)
        try:
            return await self.call("EVALSHA", script.sha, len(names), *names, *args)
        except _Unknown:
            return await self.call("EVAL", script.source, len(names), *names, *args)

    @asynccontextmanager
    async def at(self, key: str) -> AsyncIterator["Client"]:
        """The server that holds a key."""
        yield self

    async def _answer(self, args: tuple[Arg, ...], timeout: float) -> Any:
        # A connection that had died in the pool is no reason to fail. Repeating is safe: every write is guarded.
        for reused in (True, False):
            if not reused:
                await self._drop_idle()
            stale = reused and bool(self._idle)
            try:
                async with self.lend() as connection:
                    return await exchange(connection, args, timeout, self.address)
            except StoreDown as error:
                if not stale or isinstance(error.__cause__, TimeoutError):
                    raise
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AbstractConnection]:
        """A connection of one's own."""
        if self._closed:
            raise StoreDown(f"the connection to {self.address} was closed")
        async with self._free:
            connection = self._idle.pop() if self._idle else self._made()
            self._lent.add(connection)
            try:
                yield connection
            finally:
                self._lent.discard(connection)
                if connection.is_connected:
                    self._idle.append(connection)

    def _made(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def check(self, mode: str = "standalone") -> None:
        """Raises StoreDown without an answer, StoreError for a server that we cannot rely on, or of another mode."""
        facts = _facts(await self.call("INFO"))
        found = facts.get("redis_mode", mode)
        if found != mode:
            raise StoreError(
                f"Redis at {self.address} is of the kind '{found}'; its address begins with"
                f" {ELSEWHERE.get(found, 'redis://')}"
            )
        if facts.get("loading") == "1":
            raise StoreDown(f"Redis at {self.address} is loading its data")
        version = facts.get("redis_version", "0.0")
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise StoreError(f"Redis at {self.address} is version {version}; 6.2 or later is needed")
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreError(
                f"Redis at {self.address} has maxmemory-policy {policy}, which throws answers away;"
                " set it to noeviction"
            )

    async def close(self) -> None:
        """Close every connection, also those in use: their calls end in StoreDown."""
        self._closed = True
        await self._drop_idle()
        for connection in list(self._lent):
            await connection.disconnect(nowait=True)


async def exchange(connection: AbstractConnection, args: tuple[Arg, ...], timeout: float, where: str) -> Any:
    """Send one command, read its answer. After anything but an answer the connection is closed."""
    try:
        async with asyncio.timeout(timeout):
            await connection.send_packed_command(pack_command(args), check_health=False)  # type: ignore[arg-type]
            return await connection.read_response(disable_decoding=True)
    except TimeoutError as error:
        await connection.disconnect(nowait=True)
        raise StoreDown(f"Redis at {where} did not answer within {timeout:g} s") from error
    except (RedisError, OSError) as error:
        raise translate(error, where) from error


class _Unknown(StoreError):  # noqa: N818
    """The server has never seen this script."""


def translate(error: Exception, where: str) -> StoreError:
    """A complaint of redis-py or of the server, as one of ours."""
    words = str(error)
    if isinstance(error, NoScriptError):
        return _Unknown(words)
    if any(word in words for word in FULL) or isinstance(error, OutOfMemoryError):
        return StoreFull(f"Redis at {where} refuses writes: {words}")
    if isinstance(error, DOWN) or any(word in words for word in DOWN_WORDS):
        return StoreDown(f"no use of Redis at {where}: {words}")
    return StoreError(f"Redis at {where}: {words}")


def _facts(info: bytes) -> dict[str, str]:
    lines = (line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return dict(lines)
