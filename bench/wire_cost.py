"""What a frame costs each client, in CPU time: `python -m bench.wire_cost`.

Both read the same frames, the size of one token's event, from a process that writes them as fast as it can.
"""

import asyncio
import statistics
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha1
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import process_time

import uvloop
from websockets.asyncio.client import connect

from bench.wire import GUID, Wire

FRAMES = 100_000
ROUNDS = 5
EVENT = (
    b'{"type":"response.output_text.delta","sequence_number":1234,"item_id":"msg_0123456789abcdef0123456789abcdef",'
    b'"output_index":0,"content_index":0,"delta":" word","logprobs":[]}'
)
Read = Callable[[str], Awaitable[None]]


async def raw(url: str) -> None:
    """Receive all frames with this package's client."""
    left = FRAMES
    done = asyncio.Event()

    def count(payload: bytes, arrived: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    wire = Wire(count)
    await wire.open(url)
    await done.wait()
    wire.abort()


async def library(url: str) -> None:
    """The `websockets` library's."""
    async with connect(url, compression=None, ping_interval=None) as socket:
        for _ in range(FRAMES):
            await socket.recv()


async def cost(read: Read, url: str) -> float:
    """Microseconds of this process per frame."""
    begin = process_time()
    await read(url)
    return (process_time() - begin) / FRAMES * 1e6


async def compare(url: str) -> None:
    """In turns, so that whatever else the machine does meets both."""
    rounds = [(await cost(raw, url), await cost(library, url)) for _ in range(ROUNDS)]
    for name, figures in zip(("bench.wire", "websockets"), zip(*rounds, strict=True), strict=True):
        print(f"{name:12} {statistics.median(figures):5.2f} us per frame (lowest {min(figures):.2f}), {FRAMES} frames")


async def _write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The least that a server can be: an upgrade, then the same frame again and again."""
    head = await reader.readuntil(b"\r\n\r\n")
    key = next(line.split()[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = b64encode(sha1(key + GUID).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    frame = b"\x81\x7e" + len(EVENT).to_bytes(2, "big") + EVENT
    for _ in range(FRAMES // 16):  # as many tokens as one engine step may bring
        writer.write(frame * 16)
        await writer.drain()
    await reader.read()
    writer.close()


async def _serve(port: Connection) -> None:
    server = await asyncio.start_server(_write, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _writer(port: Connection) -> None:
    uvloop.run(_serve(port))


def main() -> None:
    """Print the cost of both clients."""
    here, there = get_context("spawn").Pipe()
    server = get_context("spawn").Process(target=_writer, args=(there,), daemon=True)
    server.start()
    print(f"Python {sys.version.split()[0]}, uvloop {version('uvloop')}, frames of {len(EVENT)} bytes")
    uvloop.run(compare(f"ws://127.0.0.1:{here.recv()}/"))
    server.kill()
    server.join()


if __name__ == "__main__":
    main()
