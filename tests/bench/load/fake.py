"""A server whose timing is known: it notes when it wrote each event, so that what a client measured can be checked."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class Written(msgspec.Struct):
    """One turn as its server knows it. Times are perf_counter's."""

    body: dict[str, Any]
    came: float
    texts: list[float] = []  # just before each text event was written
    ended: float = 0.0  # just before the terminal one was


class Fake:
    """ResponseDecoder in the rules of all three protocols."""

    def __init__(self) -> None:
        self.delays: tuple[float, ...] = (0.03, 0.01, 0.02)  # seconds before each text event
        self.tokens_per_event = 2
        self.fault: str | None = None  # refuse | error | cut | nonsense | silent | no-usage
        self.free = asyncio.Event()  # while it is not set, the whole server stands still
        self.free.set()
        self.leave = asyncio.Event()  # ends what is silent
        self.turns: list[Written] = []
        self.connections = 0
        self.port = 0  # of HTTP
        self.socket_port = 0  # of WebSockets

    def url(self, target: str) -> str:
        """Where a target is found."""
        return f"http://127.0.0.1:{self.socket_port if target == 'ws' else self.port}/v1"

    async def events(self, body: dict[str, Any], *, chat: bool) -> AsyncIterator[str]:
        """The JSON of a turn's events, each when it is due."""
        await self.free.wait()
        written = Written(body, time.perf_counter(), [])
        self.turns.append(written)
        number = len(self.turns)
        yield _chat("role", "") if chat else _event("response.created", response={"id": f"r{number}"})
        for index, delay in enumerate(self.delays):
            await asyncio.sleep(delay)  # the timing that clients are checked against
            await self.free.wait()
            if self.fault == "silent":
                await self.leave.wait()
            if index == 1 and self.fault in {"error", "cut", "nonsense"}:
                yield {"error": '{"type":"error","error":{"code":"broken"}}', "cut": "CUT", "nonsense": "{"}[self.fault]
                return
            written.texts.append(time.perf_counter())
            yield _chat("content", f"{index} ") if chat else _event("response.output_text.delta", delta=f"{index} ")
        written.ended = time.perf_counter()
        if self.fault != "no-usage":
            yield self._end(number, chat=chat)

    def _end(self, number: int, *, chat: bool) -> str:
        tokens = self.tokens_per_event * len(self.delays)
        if chat:
            return json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}})
        usage = {"input_tokens": 5, "output_tokens": tokens}
        return _event("response.completed", response={"id": f"r{number}", "status": "completed", "usage": usage})

    # -- HTTP ------------------------------------------------------------------------------------------------------

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
                await self._answer(head, await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith("GET"):
            _whole(writer, "200 OK", b'{"data":[{"id":"fake"}]}')
        elif self.fault == "refuse":
            _whole(writer, "503 Service Unavailable", b"{}")
        else:
            await self._stream(head, json.loads(body), writer)

    async def _stream(self, head: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        async for event in self.events(body, chat="/chat/" in head):
            if event == "CUT":
                writer.close()
                return
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    # -- WebSockets ------------------------------------------------------------------------------------------------

    async def socket(self, socket: ServerConnection) -> None:
        """Serve one socket; each frame is a turn of its own lane."""
        self.connections += 1
        async with asyncio.TaskGroup() as group:
            async for frame in socket:
                group.create_task(self._lane(socket, json.loads(frame)))

    async def _lane(self, socket: ServerConnection, body: dict[str, Any]) -> None:
        with suppress(ConnectionClosed):
            await self._frames(socket, body)

    async def _frames(self, socket: ServerConnection, body: dict[str, Any]) -> None:
        lane = body.get("stream_id")
        if self.fault == "refuse":
            await socket.send(_event("error", error={"code": "overloaded"}, stream_id=lane))
            return
        async for event in self.events(body, chat=False):
            if event == "CUT":
                socket.transport.abort()
                return
            if self.fault == "no-usage" and "completed" in event:
                return
            await socket.send(event if lane is None else event[:-1] + f',"stream_id":"{lane}"}}')


def _event(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, **fields})


def _chat(name: str, text: str) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {name: text}}]})


def _whole(writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)


async def serve_http(port: int) -> None:
    """As a program of its own: `python -m tests.bench.load.fake PORT`."""
    async with await asyncio.start_server(Fake().http, "127.0.0.1", port) as server:
        await server.serve_forever()


@asynccontextmanager
async def fake() -> AsyncIterator[Fake]:
    """One that listens."""
    server = Fake()
    http = await asyncio.start_server(server.http, "127.0.0.1", 0)
    async with http, serve(server.socket, "127.0.0.1", 0) as sockets:
        server.port = http.sockets[0].getsockname()[1]
        server.socket_port = next(iter(sockets.sockets)).getsockname()[1]
        try:
            yield server
        finally:
            server.free.set()
            server.leave.set()


if __name__ == "__main__":
    asyncio.run(serve_http(int(sys.argv[1])))
