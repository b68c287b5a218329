"""A TCP connection that can be cut, or swallow everything, between a client and a node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.waiting import until


class Wire:
    """Carries bytes both ways to one port until told otherwise."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0  # once it listens
        self.open = asyncio.Event()  # clear: both sides stay connected, and nothing comes through
        self.open.set()
        self.carried = 0  # bytes to the client
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def http(self) -> str:
        """As the SDKs want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def cut(self) -> None:
        """Reset every connection: no goodbye, in whatever byte it is."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        there, out = await asyncio.open_connection("127.0.0.1", self.to)
        self._writers |= {writer, out}
        ways = [asyncio.create_task(way) for way in (self._copy(reader, out), self._copy(there, writer, count=True))]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._tasks -= set(ways)
        for end in (writer, out):
            self._writers.discard(end)
            end.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 14):
                await self.open.wait()
                writer.write(data)
                self.carried += len(data) if count else 0
                await writer.drain()


@asynccontextmanager
async def wired(to: int) -> AsyncIterator[Wire]:
    """In front of a port of this machine."""
    wire = Wire(to)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.open.set()
        wire.cut()
        await until(lambda: not wire._tasks, "nothing is carried any more")
