"""An HTTP connection that carries one streamed answer after the other, on a bare asyncio.Protocol."""

import asyncio
import time
from typing import cast

import msgspec

from bench.load.decode import BadHttp, End, Head, Piece, ResponseDecoder, SseDecoder, request
from bench.load.observer import TurnFailed, TurnObserver
from bench.load.target import Target

ERROR_BYTES = 500  # of a refusal's body that are kept


class HttpConnection(asyncio.Protocol):
    """One connection; one turn at a time."""

    def __init__(self, target: Target, host: str, headers: dict[str, str]) -> None:
        self.target = target
        self.host = host
        self.headers = headers
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._answers = ResponseDecoder()
        self._sse = SseDecoder()
        self._head: Head | None = None  # of the answer under way
        self._observer: TurnObserver | None = None  # the turn under way
        self._over: asyncio.Future[None] | None = None  # set when the answer's last byte is here
        self.refusal = b""  # the body of an answer that is no stream

    async def ask(self, body: dict[str, object], observer: TurnObserver) -> None:
        """Send a turn and return at its end; how it went is in the observer's sample."""
        if self._transport is None or not self.usable:
            raise TurnFailed("connection lost")
        self._observer, self._sse, self.refusal = observer, SseDecoder(), b""
        self._over = asyncio.get_running_loop().create_future()
        raw = request("POST", self.target.path, self.host, msgspec.json.encode(body), self.headers)
        observer.sample.sent = time.perf_counter()
        self._transport.write(raw)
        await observer.wait_ended()
        if self.usable:
            await self._over
        self._observer = None

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        try:
            for part in self._answers.feed(data):
                self._take(part, now)
        except (BadHttp, msgspec.DecodeError) as error:
            self._break(f"bad {type(error).__name__}", now)

    def eof_received(self) -> None:
        now = time.perf_counter()
        try:
            for part in self._answers.eof():
                self._take(part, now)
        except BadHttp:
            self._break("cut", now)

    def connection_lost(self, error: Exception | None) -> None:
        self._break("connection lost", time.perf_counter())

    # -- parts of an answer --------------------------------------------------------------------------------------

    def _take(self, part: Piece, now: float) -> None:
        if isinstance(part, Head):
            self._head = part
        elif isinstance(part, End):
            self._finish(now)
        elif self._head is not None and self._head.status == 200:
            self._events(part, now)
        else:
            self.refusal = (self.refusal + part)[:ERROR_BYTES]

    def _events(self, data: bytes, now: float) -> None:
        for event in self._sse.feed(data):
            if self._observer is not None and event != b"[DONE]":
                self._observer.observe(self.target.read(event), now)

    def _finish(self, now: float) -> None:
        assert self._head is not None
        if self._observer is not None:
            status = self._head.status
            self._observer.fail("no end" if status == 200 else f"http {status}", now)
        self.usable = self.usable and self._head.keeps
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _break(self, kind: str, now: float) -> None:
        self.usable = False
        if self._observer is not None:
            self._observer.fail(kind, now)
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        if self._transport is not None:
            self._transport.close()
