"""A proxy in front of Redis that loses replies to scripts that were applied."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """The replies to the next `losses` scripts are lost: the connection ends instead."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""
        self.losses = 0
        # How many replies were lost.
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while request := await reader.read(1 << 20):
                ours.write(request)
                reply = await theirs.read(1 << 20)
                if not reply or (b"EVAL" in request and self._loses(reply)):
                    break
                writer.write(reply)
        finally:
            for each in (ours, writer):
                each.close()

    def _loses(self, reply: bytes) -> bool:
        if self.losses == 0 or reply.startswith(b"-NOSCRIPT"):
            return False
        self.losses -= 1
        self.lost += 1
        return True


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    """In front of a Redis on this machine."""
    made = Proxy(port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
