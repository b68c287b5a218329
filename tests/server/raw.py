"""A WebSocket client that says any bytes at all, and reads only when it is told to."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson

from tests.server.peer import PATIENCE, Event
from tests.serving import Served

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x01\x02\x03\x04"
HANDSHAKE = (
    b"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Raw:
    """A socket after its handshake. `head` is the server's answer to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head

    async def write(self, *frames: bytes) -> None:
        for each in frames:
            self.writer.write(each)
        await self.writer.drain()

    async def say(self, type: str, **fields: object) -> None:
        await self.write(text({"type": type, **fields}))

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame. Raises EOFError."""
        async with asyncio.timeout(PATIENCE):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(size)

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Up to the end."""
        try:
            while True:
                yield await self.frame()
        except (EOFError, ConnectionError):
            return

    async def event(self) -> Event:
        """The next event; pings are left without an answer."""
        while True:
            opcode, payload = await self.frame()
            if opcode == TEXT:
                event: Event = orjson.loads(payload)
                return event

    async def closed(self) -> int:
        """The close code; 1006 if there is none."""
        async for opcode, payload in self.frames():
            if opcode == CLOSE:
                return int.from_bytes(payload[:2])
        return 1006


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, mask: bytes = MASK) -> bytes:
    """A frame as a client sends it; with an empty mask, as a server does."""
    head = bytes([fin << 7 | reserved << 4 | opcode])
    bit = 128 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", bit | 127, len(payload))
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    if not mask:
        return payload
    pad = mask * (len(payload) // 4 + 1)
    return bytes(a ^ b for a, b in zip(payload, pad, strict=False))


def text(event: Event) -> bytes:
    return frame(TEXT, orjson.dumps(event))


def fragments(payload: bytes, size: int) -> Iterator[bytes]:
    """A text message in pieces of at most `size` bytes."""
    for at in range(0, len(payload), size):
        last = at + size >= len(payload)
        yield frame(CONTINUATION if at else TEXT, payload[at : at + size], fin=last)


async def dialled(port: int, buffer: int | None) -> socket.socket:
    """A connection whose receive buffer is set before the handshake of TCP, which announces it."""
    plain = socket.socket()
    if buffer is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    return plain


@asynccontextmanager
async def raw(
    served: Served, query: str = "", *, port: int | None = None, buffer: int | None = None, headers: bytes = b""
) -> AsyncIterator[Raw]:
    """`buffer` is the size of the kernel's receive buffer, in bytes: small, for a reader that stops."""
    plain = await dialled(port or served.port, buffer)
    reader, writer = await asyncio.open_connection(sock=plain, limit=buffer or 1 << 16)
    writer.write(b"GET /v1/responses" + query.encode() + b" HTTP/1.1\r\n" + HANDSHAKE + headers + b"\r\n")
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    try:
        yield Raw(reader, writer, head)
    finally:
        writer.transport.abort()
