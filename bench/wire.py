"""A WebSocket client on raw frames (RFC 6455), for runs in which the client must cost little.

A text frame that arrives whole is one slice and one call: no JSON, no queue, no task. What is rare (a ping, a close,
a fragment) is handled here too. Masking, upgrade and errors follow the RFC; no extensions, no TLS.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha1
from secrets import token_bytes
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
FINAL = 0x80
NO_STATUS, ABNORMAL, PROTOCOL_ERROR = 1005, 1006, 1002  # RFC 6455, 7.4.1
HEAD_LIMIT = 65536  # bytes of an HTTP answer's head

OnText = Callable[[bytes, float], None]


class Refused(ConnectionError):  # noqa: N818 - reads as what happened
    """The upgrade was answered with something else than 101; `status` is 0 where it was no HTTP at all."""

    def __init__(self, status: int, head: bytes) -> None:
        super().__init__(status, head)
        self.status = status
        self.head = head

    def __str__(self) -> str:
        return f"the upgrade was refused: {self.head[:200].decode('latin-1')!r}"


class Wire(asyncio.Protocol):
    """One socket. `on_text(payload, arrived)` is called for each text message, `arrived` in perf_counter's seconds.

    `over` is done when the socket is: its close code, or 1006 where the peer said none. Messages that were read
    together with the one in which the caller aborts may still be handed over.
    """

    def __init__(self, on_text: OnText) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[int] = loop.create_future()
        self.transport: asyncio.Transport  # once connected
        self.arrived = 0.0  # when the latest bytes did
        self._on_text = on_text
        self._key = b64encode(token_bytes(16))
        self._upgraded: asyncio.Future[None] = loop.create_future()
        self._take = self._upgrade  # what becomes of bytes in this state
        self._rest = b""  # of the last read: an unfinished frame
        self._parts: list[bytes] = []  # of an unfinished message
        self._code = ABNORMAL

    async def open(self, url: str, headers: Mapping[str, str] | None = None, timeout: float = 10.0) -> None:
        """Connect and upgrade. Raises OSError (Refused among them), TimeoutError. Cancellation closes the socket."""
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            async with asyncio.timeout(timeout):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, parts.hostname or "", parts.port or 80)
                self.transport.write(self._request(target, parts.netloc, headers or {}))
                await self._upgraded
        except BaseException:
            if hasattr(self, "transport"):
                self.transport.abort()
            raise

    def send(self, text: str | bytes) -> None:
        """One masked text frame. What is sent after the end goes nowhere."""
        self._send(TEXT, text.encode() if isinstance(text, str) else text)

    def close(self, code: int = 1000) -> None:
        """Say goodbye; `over` is done when the peer has answered or is gone."""
        self._send(CLOSE, code.to_bytes(2, "big"))

    def abort(self) -> None:
        """Cut the connection: no close frame, what was not sent is dropped."""
        self.transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self.arrived = perf_counter()
        self._take(self._rest + data if self._rest else data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._upgraded.done():
            self._upgraded.set_exception(exc or Refused(0, self._rest))
            self._upgraded.exception()  # whoever opened it may have given up
        if not self.over.done():
            self.over.set_result(self._code)

    # -- the upgrade ---------------------------------------------------------------------------------------------

    def _request(self, target: str, host: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {self._key.decode()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def _upgrade(self, data: bytes) -> None:
        head, found, rest = data.partition(b"\r\n\r\n")
        self._rest = data
        if not found and len(data) <= HEAD_LIMIT:
            return
        status, fields = _parse(head)
        accept = b64encode(sha1(self._key + GUID).digest())
        if status != 101 or fields.get(b"sec-websocket-accept") != accept:
            self._refuse(status, data)
            return
        self._rest = b""
        self._take = self._frames
        if not self._upgraded.done():
            self._upgraded.set_result(None)
        self._frames(rest)

    def _refuse(self, status: int, data: bytes) -> None:
        self._take = self._nothing
        if not self._upgraded.done():
            self._upgraded.set_exception(Refused(status, data))
        self.transport.abort()

    # -- frames --------------------------------------------------------------------------------------------------

    def _frames(self, data: bytes) -> None:
        at, end, arrived = 0, len(data), self.arrived
        while end - at >= 2:
            length, begin = data[at + 1], at + 2
            if length > 125:
                begin = at + (4 if length == 126 else 10)
                if end < begin:
                    break
                length = int.from_bytes(data[at + 2 : begin], "big")
            stop = begin + length
            if stop > end:
                break
            if data[at] == FINAL | TEXT and not self._parts:
                self._on_text(data[begin:stop], arrived)
            else:
                self._rare(data[at], data[begin:stop])
                if self.transport.is_closing():
                    return
            at = stop
        self._rest = data[at:]

    def _rare(self, first: int, payload: bytes) -> None:
        match first:
            case 0x89:
                self._send(PONG, payload)
            case 0x8A:
                pass
            case 0x88:
                self._closed(payload)
            case 0x01 if not self._parts:
                self._parts = [payload]
            case 0x00 | 0x80 if self._parts:
                self._parts.append(payload)
                if first == FINAL:
                    whole, self._parts = b"".join(self._parts), []
                    self._on_text(whole, self.arrived)
            case _:
                self._fail()

    def _closed(self, payload: bytes) -> None:
        self._code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_STATUS
        self._send(CLOSE, payload[:2])
        self._take = self._nothing
        self.transport.close()

    def _fail(self) -> None:
        """What cannot be understood, and anything after it, is not looked at."""
        self._code = PROTOCOL_ERROR
        self._send(CLOSE, PROTOCOL_ERROR.to_bytes(2, "big"))
        self._take = self._nothing
        self.transport.close()

    def _nothing(self, data: bytes) -> None:
        self._rest = b""

    def _send(self, opcode: int, payload: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(masked(opcode, payload))


def masked(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """A client's frame (RFC 6455, 5.2)."""
    mask = token_bytes(4) if mask is None else mask
    length = len(payload)
    if length < 126:
        head = bytes((FINAL | opcode, 0x80 | length))
    elif length < 65536:
        head = bytes((FINAL | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((FINAL | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    stream = (mask * (length // 4 + 1))[:length]
    hidden = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return head + mask + hidden.to_bytes(length, "big")


def type_of(payload: bytes) -> bytes:
    """The first `"type"` of an event, which is its own where the server writes that first; empty if there is none."""
    at = payload.find(b'"type":"')
    return payload[at + 8 : payload.find(b'"', at + 8)] if at >= 0 else b""


def _parse(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of an HTTP answer; status 0 for anything else."""
    first, *lines = head.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    pairs = (line.partition(b":") for line in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return (int(rest[:3]) if version.startswith(b"HTTP/1.") and rest[:3].isdigit() else 0), fields
