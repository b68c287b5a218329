"""A connection that says any bytes at all, and the limits that it meets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import orjson

from server.web.transport.http_protocol import ConnectionPolicy
from tests.server.peer import PATIENCE
from tests.serving import Served

HOST = b"Host: 127.0.0.1\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/responses HTTP/1.1\r\n" + HOST
KEYS = "alice:secret"
CLIENT = b"X-Forwarded-For: 192.0.2.7\r\n"


def policy(served: Served) -> ConnectionPolicy:
    """What its connections share."""
    found: ConnectionPolicy = served.server.config.http.keywords["policy"]  # type: ignore[union-attr]
    return found


def limit(served: Served, **changes: float) -> None:
    """Change limits of connections that are still to come."""
    table = policy(served).table
    table.limits = msgspec.structs.replace(table.limits, **changes)


class Peer:
    """A connection that says any bytes at all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer. Raises EOFError."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            return int(head.split()[1]), await self.reader.readexactly(int(size.partition(b":")[2]))

    async def refusal(self) -> tuple[int, str]:
        """Status and code of an error, after which the connection ends."""
        status, body = await self.answer()
        assert await self.ended()
        return status, orjson.loads(body)["error"]["code"]

    async def ended(self) -> bool:
        """Whether nothing more comes but the end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def peer(served: Served, said: bytes = b"") -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 20)
    made = Peer(reader, writer)
    await made.write(said)
    try:
        yield made
    finally:
        writer.transport.abort()


async def trickle(each: Peer, data: bytes, pause: float) -> None:
    """One byte after the other, until the server has enough."""
    try:
        for at in range(len(data)):
            await each.write(data[at : at + 1])
            await asyncio.sleep(pause)
    except ConnectionError:
        pass


async def flood(each: Peer, data: bytes) -> None:
    """Say it for as long as the server takes it."""
    try:
        while True:
            await each.write(data)
            await asyncio.sleep(0.001)
    except ConnectionError:
        pass
