"""Many servers behind one address: each call goes to the one that holds the key it names first.

When a server did not answer, or says that it is not the one, the next call locates the server anew. Nothing is repeated
here that may have been applied.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from server.store.errors import BadAddress, StoreDown
from server.store.redis.client import Client, split_url, without_password
from server.store.redis.lua_call import Arg, LuaCall, Reply

T = TypeVar("T")
Call = Callable[[Client], Awaitable[T]]
DISCOVERY_TIMEOUT_S = 0.5  # for a server to say where another one is, or that it is well


class Servers(msgspec.Struct, frozen=True):
    """An address of several hosts, taken apart: where they are, and how to log in to any of them."""

    scheme: str  # of one server
    user: str  # "name:password@" or ""
    hosts: tuple[str, ...]  # with their ports
    path: str
    query: str

    def url_of(self, host: str, path: str = "") -> str:
        """The address of one of them, with the same login."""
        return f"{self.scheme}://{self.user}{host}{path}{f'?{self.query}' if self.query else ''}"


def parse_servers(url: str, port: int) -> Servers:
    """Read `redis+cluster://user:password@host:port,host:port/path`; `port` is the default. Raises BadAddress."""
    parts = split_url(url)
    user, at, hosts = parts.netloc.rpartition("@")
    with_ports = tuple(_with_port(host.strip(), port) for host in hosts.split(",") if host.strip())
    if not with_ports:
        raise BadAddress(f"{without_password(url)} names no host")
    return Servers(parts.scheme.partition("+")[0], user + at, with_ports, parts.path, parts.query)


def _with_port(host: str, port: int) -> str:
    return host if ":" in host.rpartition("]")[2] else f"{host}:{port}"


def host_and_port(host: str, port: int) -> str:
    """Host and port as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class RoutedClient(ABC):
    """The calls of a `Client`, to many servers. A subclass knows which of them holds a key."""

    def __init__(self, url: str, *, port: int, timeout: float = 2.0, limit: int = 16) -> None:
        self.address = without_password(url)
        self._servers = parse_servers(url, port)
        self._timeout = timeout
        self._limit = limit
        # A client for every server that was called, by host and port.
        self._clients: dict[str, Client] = {}
        # The database in each of their addresses, with its slash.
        self._path = ""
        # Held while the servers are being located, so that many calls need one answer.
        self._discovery = asyncio.Lock()
        self._closed = False

    @property
    @abstractmethod
    def description(self) -> str:
        """Which kind of Redis this is, and what is known of it, for people to read."""

    @abstractmethod
    async def _locate(self, key: str) -> str:
        """Host and port of the server that holds a key. Raises StoreDown."""

    @abstractmethod
    def _distrust(self, server: str, key: str, error: StoreDown) -> None:
        """Called when a call for `key` did not reach `server`, or was turned away there."""

    @abstractmethod
    async def check(self) -> None:
        """Raises StoreDown without an answer, StoreError for servers that we cannot rely on."""

    def check_address(self) -> None:
        """Raises ValueError, TypeError or BadAddress for options, or a database, that there cannot be."""
        for host in self._servers.hosts:
            Client(self._servers.url_of(host, self._path)).check_address()

    @asynccontextmanager
    async def server_of(self, key: str) -> AsyncIterator[Client]:
        """The server that holds a key. After a StoreDown in the block, the next call locates it anew."""
        server = await self._locate(key)
        try:
            yield self._client(server)
        except StoreDown as error:
            self._distrust(server, key, error)
            raise

    async def call(self, *args: Arg) -> Any:
        """One command, with its key as the first argument. Raises StoreDown, StoreFull, StoreError."""
        return await self._send(str(args[1]), lambda client: client.call(*args))

    async def run(self, call: LuaCall[Reply]) -> Reply:
        """One script, where its keys are."""
        return await self._send(call.first_key, lambda client: client.run(call))

    async def _send(self, key: str, call: Call[T]) -> T:
        async with self.server_of(key) as client:
            return await call(client)

    async def close(self) -> None:
        """Close every connection: calls in flight end in StoreDown."""
        self._closed = True
        await self._keep_only(())

    def _client(self, server: str) -> Client:
        if self._closed:
            raise StoreDown(f"the connection to {self.address} was closed")
        if server not in self._clients:
            url = self._servers.url_of(server, self._path)
            self._clients[server] = Client(url, timeout=self._timeout, limit=self._limit)
        return self._clients[server]

    async def _keep_only(self, known: Iterable[str]) -> None:
        """Close the connections to all other servers."""
        gone = [self._clients.pop(server) for server in self._clients.keys() - set(known)]
        for client in gone:
            await client.close()


async def first_answer(clients: Iterable[Client], *command: Arg) -> tuple[Client, Any]:
    """The first of these servers that answers with anything, and its answer. Raises StoreDown where none does."""
    reasons = []
    for client in clients:
        try:
            async with asyncio.timeout(DISCOVERY_TIMEOUT_S):
                if answer := await client.call(*command):
                    return client, answer
            reasons.append(f"nothing is known of it at {client.address}")
        except TimeoutError:
            reasons.append(f"Redis at {client.address} did not answer within {DISCOVERY_TIMEOUT_S:g} s")
        except StoreDown as error:
            reasons.append(str(error))
    raise StoreDown("; ".join(reasons))
