"""Calls to one Redis: pooled connections, scripts, and the server's errors as those of `server.store.errors`.

redis-py's own client would repeat writes, start a task for every send, pack in Python and answer with its own
parsers; its connections, taken alone, do none of that.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

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

from server.store.errors import BadAddress, StoreDown, StoreError, StoreFull
from server.store.redis.lua_call import Arg, LuaCall, Reply

# Errors of redis-py, and parts of messages of the server, by the error of ours that they become.
FULL_MESSAGES = ("used memory > 'maxmemory'", "MISCONF")
DOWN_ERRORS = (ConnectionError, TimedOut, OSError, ReadOnlyError, ClusterDownError, AskError, TryAgainError)
DOWN_MESSAGES = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY ", "UNBLOCKED")
OLDEST_VERSION = (6, 2)
SCHEMES_BY_MODE = {"cluster": "redis+cluster://", "sentinel": "redis+sentinel://"}


# RFC 3986, appendix B. urlsplit of newer Pythons refuses several hosts where one of them stands in brackets.
URL = re.compile(
    r"(?:(?P<scheme>[^:/?#]+):)?(?://(?P<netloc>[^/?#]*))?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?", re.DOTALL
)


class UrlParts(NamedTuple):
    """A Redis URL, taken apart. `netloc` may name several hosts, with a login before them."""

    scheme: str
    netloc: str
    path: str
    query: str


def split_url(url: str) -> UrlParts:
    """Take a URL apart; what it lacks is empty."""
    found = URL.fullmatch(url)
    assert found is not None  # the pattern fits any text
    return UrlParts(**{name: value or "" for name, value in found.groupdict().items()})


def without_password(url: str) -> str:
    """A Redis URL as it may be shown: user and password are replaced, the query is left out."""
    parts = split_url(url)
    _, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if at else ''}{host}{parts.path}"


class Client:
    """One server. At most `limit` connections at a time; each call has one to itself. `timeout` in seconds."""

    description = "one Redis"

    def __init__(self, url: str, *, timeout: float = 2.0, limit: int = 16) -> None:
        self.address = without_password(url)
        self._timeout = timeout
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            decode_responses=False,
            socket_timeout=None,  # asyncio.timeout() around the whole call does it without a task
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        # Connections that wait for a call, the last one used at the end; and those that a call has.
        self._idle: list[AbstractConnection] = []
        self._lent: set[AbstractConnection] = set()
        # Counts the connections that may still be lent.
        self._free = asyncio.Semaphore(limit)
        self._closed = False

    def check_address(self) -> None:
        """Raises ValueError, TypeError or BadAddress for options, or a database, that there cannot be."""
        parts = split_url(self.address)
        if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]*", parts.path):
            raise BadAddress(f"{self.address} names a database that is not a number")
        self._new_connection()  # reads the options, and opens nothing

    async def call(self, *args: Arg) -> Any:
        """One command. Raises StoreDown, StoreFull, StoreError. Cancelling it drops its connection."""
        return await self._answer(args)

    async def run(self, call: LuaCall[Reply]) -> Reply:
        """One script by its digest; a server that does not know it is sent the source."""
        script, parameters = call.script, call.parameters()
        answer = self._answer if script.is_repeatable else self._answer_once
        reply: Reply
        try:
            reply = await answer(("EVALSHA", script.sha, *parameters))
        except _UnknownScript:
            reply = await answer(("EVAL", script.source, *parameters))
        return reply

    @asynccontextmanager
    async def server_of(self, key: str) -> AsyncIterator["Client"]:
        """The server that holds a key: this one. See `RoutedClient.server_of`."""
        yield self

    async def _answer(self, args: tuple[Arg, ...]) -> Any:
        """The answer to what may be repeated: a read, or a write that names what it expects.

        A connection that had died in the pool is no reason to fail, but whether it died before the call cannot be told.
        """
        for reused in (True, False):
            if not reused:
                await self._drop_idle()
            stale = reused and bool(self._idle)
            try:
                async with self.connection() as connection:
                    return await exchange(connection, args, self._timeout, self.address)
            except StoreDown as error:
                if not stale or isinstance(error.__cause__, TimeoutError):
                    raise
        raise AssertionError("unreachable")

    async def _answer_once(self, args: tuple[Arg, ...]) -> Any:
        """The answer to what is sent once at most. A pooled connection is tried first: it may be dead."""
        async with self.connection() as connection:
            if connection.is_connected:
                try:
                    await exchange(connection, ("PING",), self._timeout, self.address)
                except StoreDown as error:
                    if isinstance(error.__cause__, TimeoutError):
                        raise
                    await connection.disconnect(nowait=True)  # what is sent next opens it anew
            return await exchange(connection, args, self._timeout, self.address)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AbstractConnection]:
        """A connection to oneself. Waits while `limit` are lent; raises StoreDown after `close()`."""
        if self._closed:
            raise StoreDown(f"the connection to {self.address} was closed")
        async with self._free:
            connection = self._idle.pop() if self._idle else self._new_connection()
            self._lent.add(connection)
            try:
                yield connection
            finally:
                self._lent.discard(connection)
                if connection.is_connected:
                    self._idle.append(connection)

    def _new_connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def check(self, mode: str = "standalone") -> None:
        """Raises StoreDown without an answer, StoreError for a server that we cannot rely on, or of another mode.

        `mode` is what INFO calls `redis_mode`.
        """
        facts = parse_info(await self.call("INFO"))
        actual = facts.get("redis_mode", mode)
        if actual != mode:
            raise StoreError(
                f"Redis at {self.address} is of the kind '{actual}'; its address begins with"
                f" {SCHEMES_BY_MODE.get(actual, 'redis://')}"
            )
        if facts.get("loading") == "1":
            raise StoreDown(f"Redis at {self.address} is loading its data")
        version = facts.get("redis_version", "0.0")
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
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


async def exchange(connection: AbstractConnection, args: tuple[Arg, ...], timeout: float, address: str) -> Any:
    """Send one command, read its answer. After anything but an answer the connection is closed."""
    try:
        async with asyncio.timeout(timeout):
            await connection.send_packed_command(pack_command(args), check_health=False)  # type: ignore[arg-type]
            return await connection.read_response(disable_decoding=True)
    except TimeoutError as error:
        await connection.disconnect(nowait=True)
        raise StoreDown(f"Redis at {address} did not answer within {timeout:g} s") from error
    except (RedisError, OSError) as error:
        raise translate(error, address) from error


class _UnknownScript(StoreError):  # noqa: N818
    """The server does not have this script: it is new, or was started again."""


def translate(error: Exception, address: str) -> StoreError:
    """An error of redis-py or of the server, as one of ours."""
    message = str(error)
    if isinstance(error, NoScriptError):
        return _UnknownScript(message)
    if any(words in message for words in FULL_MESSAGES) or isinstance(error, OutOfMemoryError):
        return StoreFull(f"Redis at {address} refuses writes: {message}")
    if isinstance(error, DOWN_ERRORS) or any(words in message for words in DOWN_MESSAGES):
        return StoreDown(f"no use of Redis at {address}: {message}")
    return StoreError(f"Redis at {address}: {message}")


def parse_info(info: bytes) -> dict[str, str]:
    """The facts in an answer to INFO, by name."""
    lines = (line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return dict(lines)
