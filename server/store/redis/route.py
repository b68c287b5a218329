"""Many servers behind one address: each call goes to the one that holds the key it names first.

A server that failed to answer, or that says it is not the one, is looked for anew by whoever calls next. Nothing is
repeated here that may have been applied.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

from server.store.errors import StoreDown, StoreError
from server.store.redis.client import Arg, Client, LuaScript, address

Call = Callable[[Client], Awaitable[Any]]
ASK = 0.5  # seconds for a server to say where another one is, or that it is well


class Servers(msgspec.Struct, frozen=True):
    """What an address says: several hosts, and how to log in to any of them."""

    scheme: str  # of one server
    user: str  # "name:password@" or ""
    hosts: tuple[str, ...]  # with their ports
    path: str
    query: str

    def one(self, host: str, path: str = "") -> str:
        """The address of one server."""
        return f"{self.scheme}://{self.user}{host}{path}{f'?{self.query}' if self.query else ''}"


def servers(url: str, port: int) -> Servers:
    """Read `redis+cluster://user:password@host:port,host:port/path`. Raises StoreError."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    found = tuple(_with_port(host.strip(), port) for host in hosts.split(",") if host.strip())
    if not found:
        raise StoreError(f"{address(url)} names no host")
    return Servers(parts.scheme.partition("+")[0], user + at, found, parts.path, parts.query)


def _with_port(host: str, port: int) -> str:
    return host if ":" in host.rpartition("]")[2] else f"{host}:{port}"


def joined(host: str, port: int) -> str:
    """Host and port as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Routed(ABC):
    """Has the calls of a `Client`."""

    def __init__(self, url: str, *, port: int, timeout: float = 2.0, limit: int = 16) -> None:
        self.address = address(url)
        self._servers = servers(url, port)
        self._timeout = timeout
        self._limit = limit
        # A client for every server that was called, by host and port; and the part of an address behind those.
        self._clients: dict[str, Client] = {}
        self._path = ""
        # Held while somebody looks for a server.
        self._looking = asyncio.Lock()
        self._closed = False

    @property
    @abstractmethod
    def what(self) -> str:
        """What is known of the servers, in words."""

    @abstractmethod
    async def _find(self, key: str) -> str:
        """Host and port of the server that holds a key. Raises StoreDown."""

    @abstractmethod
    def _doubt(self, server: str, key: str, error: StoreDown) -> None:
        """A call did not reach its server, or was turned away there."""

    @abstractmethod
    async def check(self) -> None:
        """Raises StoreDown without an answer, StoreError for servers that we cannot rely on."""

    @asynccontextmanager
    async def at(self, key: str) -> AsyncIterator[Client]:
        """The server that holds a key. A StoreDown in the block has the next caller look for it again."""
        server = await self._find(key)
        try:
            yield self._client(server)
        except StoreDown as error:
            self._doubt(server, key, error)
            raise

    async def call(self, *args: Arg) -> Any:
        """One command, with its key as the first argument. Raises StoreDown, StoreFull, StoreError."""
        return await self._ask(str(args[1]), lambda client: client.call(*args))

    async def run(self, script: LuaScript, keys: Iterable[str], args: Iterable[Arg]) -> Any:
        """One script, where its keys are."""
        names, values = list(keys), list(args)
        return await self._ask(names[0], lambda client: client.run(script, names, values))

    async def _ask(self, key: str, call: Call) -> Any:
        async with self.at(key) as client:
            return await call(client)

    async def close(self) -> None:
        """Close every connection: calls in flight end in StoreDown."""
        self._closed = True
        await self._keep(())

    def _client(self, server: str) -> Client:
        if self._closed:
            raise StoreDown(f"the connection to {self.address} was closed")
        if server not in self._clients:
            url = self._servers.one(server, self._path)
            self._clients[server] = Client(url, timeout=self._timeout, limit=self._limit)
        return self._clients[server]

    async def _keep(self, known: Iterable[str]) -> None:
        """Let go of all other servers."""
        gone = [self._clients.pop(server) for server in self._clients.keys() - set(known)]
        for client in gone:
            await client.close()


async def first(clients: Iterable[Client], *question: Arg) -> tuple[Client, Any]:
    """The first of these servers that answers with anything, and its answer. Raises StoreDown where none does."""
    words = []
    for client in clients:
        try:
            async with asyncio.timeout(ASK):
                if answer := await client.call(*question):
                    return client, answer
            words.append(f"nothing is known of it at {client.address}")
        except TimeoutError:
            words.append(f"Redis at {client.address} did not answer within {ASK:g} s")
        except StoreDown as error:
            words.append(str(error))
    raise StoreDown("; ".join(words))
