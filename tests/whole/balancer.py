"""A load balancer of a few lines: each connection goes to the first node that takes it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.whole.process import Program


class Balancer:
    """Listens on a port of its own."""

    def __init__(self, nodes: Sequence[Program]) -> None:
        self.nodes = list(nodes)
        self.port = 0  # once it listens
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def http(self) -> str:
        """As the SDKs want it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ws(self) -> str:
        """For bare sockets."""
        return f"ws://127.0.0.1:{self.port}/v1/responses"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, until either side ends it."""
        with suppress(OSError):
            there, out = await self._connect()
            ways = [asyncio.create_task(way) for way in (_copy(reader, out), _copy(there, writer))]
            self._tasks.update(ways)
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
                self._tasks.discard(way)
            out.close()
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for node in self.nodes:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", node.port)
        raise ConnectionRefusedError("no node takes a connection")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def balanced(nodes: Sequence[Program]) -> AsyncIterator[Balancer]:
    """In front of these nodes."""
    balancer = Balancer(nodes)
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
