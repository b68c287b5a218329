"""Sends one input on a connection of its own, and notes what comes back."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from bench.hostile.inputs import Input
from bench.hostile.outcome import Outcome
from bench.load.decode import BadHttp, End, Head, ResponseDecoder
from bench.wire import ABNORMAL, Refused, Wire

HOST = "127.0.0.1"
HELD = 3.0  # seconds that a connection is held open from which nothing is due
CONNECT = 10.0  # seconds
SWITCHING = 101
BODY = 4 << 20  # bytes of an answer that are kept: some repeat what they were sent


async def deliver(given: Input, port: int) -> Outcome:
    """Send it and wait for the answers that are due, for the node's end of it, or for as long as the input says."""
    outcome = Outcome(given.name, given.answers, given.size, perf_counter(), refused={}, bare=[], broken=[])
    try:
        await (_over_socket if given.upgraded else _over_http)(given, port, outcome)
    except Refused as refused:
        outcome.http(refused.status, refused.head.partition(b"\r\n\r\n")[2])
        outcome.closed = "handshake"
    except (OSError, TimeoutError) as error:
        outcome.closed = "reset" if isinstance(error, OSError) else outcome.closed
    outcome.ended = perf_counter()
    return outcome


async def _over_socket(given: Input, port: int, outcome: Outcome) -> None:
    enough = asyncio.Event()

    def on_text(payload: bytes, arrived: float) -> None:
        outcome.event(payload)
        if outcome.answers - max(0, outcome.created - outcome.over) >= given.answers > 0:
            enough.set()

    wire = Wire(on_text)
    await wire.open(f"ws://{HOST}:{port}{given.target}", {"origin": f"http://{HOST}:{port}"}, CONNECT)
    try:
        if not given.reads:
            wire.transport.pause_reading()
        await _write(given, wire.transport)
        await _until(given, enough, wire.over)
        if wire.over.done():
            code = wire.over.result()
            outcome.closed = "reset" if code == ABNORMAL else str(code)
    finally:
        wire.abort()


async def _over_http(given: Input, port: int, outcome: Outcome) -> None:
    loop = asyncio.get_running_loop()
    enough = asyncio.Event()
    _, peer = await asyncio.wait_for(loop.create_connection(lambda: _Peer(outcome, enough.set), HOST, port), CONNECT)
    try:
        if not given.reads:
            peer.transport.pause_reading()
        await _write(given, peer.transport)
        await _until(given, enough, peer.over)
    finally:
        peer.leave()


async def _write(given: Input, transport: asyncio.Transport) -> None:
    for piece in given.pieces:
        if piece.pause:
            await asyncio.sleep(piece.pause)
        if transport.is_closing():
            return
        transport.write(piece.data)


async def _until(given: Input, enough: asyncio.Event, over: asyncio.Future[int]) -> None:
    waiting: asyncio.Future[Any] = asyncio.ensure_future(enough.wait())
    try:
        await asyncio.wait(
            {waiting, over}, timeout=given.wait if given.answers else HELD, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        waiting.cancel()


class _Peer(asyncio.Protocol):
    """Reads answers until there are as many as are due; after an upgrade, nothing more."""

    def __init__(self, outcome: Outcome, enough: Callable[[], None]) -> None:
        self.transport: asyncio.Transport  # once connected
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._outcome = outcome
        self._enough = enough
        self._answers = ResponseDecoder()
        self._status = 0  # of the answer under way
        self._body = b""
        self._left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._left or self._status == SWITCHING:
            return
        try:
            for part in self._answers.feed(data):
                self._take(part)
                if self._status == SWITCHING:
                    return
        except BadHttp:
            self._outcome.bare.append(f"no HTTP: {data[:60]!r}")
            self._finish(599)

    def eof_received(self) -> None:
        try:
            for part in self._answers.eof():
                self._take(part)
        except BadHttp:
            pass
        self._outcome.closed = self._outcome.closed or "eof"

    def connection_lost(self, error: Exception | None) -> None:
        if not self._left:
            self._outcome.closed = self._outcome.closed or ("eof" if error is None else "reset")
        if not self.over.done():
            self.over.set_result(0)

    def leave(self) -> None:
        """Hang up: what comes after this is our own doing."""
        self._left = True
        self.transport.abort()

    def _take(self, part: Head | bytes | End) -> None:
        if isinstance(part, Head):
            self._status, self._body = part.status, b""
            if part.status == SWITCHING:
                self._finish(part.status)
        elif isinstance(part, bytes):
            self._body = (self._body + part)[:BODY]
        else:
            self._finish(self._status)

    def _finish(self, status: int) -> None:
        self._outcome.http(status, self._body)
        if self._outcome.answers >= self._outcome.due > 0:
            self._enough()
