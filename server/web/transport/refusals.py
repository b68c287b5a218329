"""Connections that are told what is wrong before any application sees them."""

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import orjson

from server.protocol.errors import WireError, envelope

LINGER_SECONDS = 5.0  # seconds in which a refused peer may go on sending, so that it can read why


def answer(error: WireError, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The whole HTTP response to a request that is not read any further, in the official error body."""
    body = orjson.dumps(envelope(error))
    connection = ", ".join(["close", *([error.headers["connection"]] if "connection" in error.headers else [])])
    own = {"content-type": "application/json", "content-length": str(len(body)), "connection": connection}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    lines += [f"{name}: {value}".encode() for name, value in (error.headers | own).items()]
    return b"\r\n".join([*lines, b"", body])


class RefusedConnection(asyncio.Protocol):
    """What is left of a connection once its last answer was written.

    A socket that is closed while its peer sends is reset, and the answer may be lost with it: so this reads and forgets
    what still comes, for a few seconds.
    """

    def __init__(self, transport: asyncio.Transport, connections: set[Any], on_lost: Callable[[], None]) -> None:
        self._transport = transport
        self._connections = connections  # of uvicorn, which ends them when it stops
        self._on_lost = on_lost
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)
        connections.add(self)
        transport.set_protocol(self)
        if transport.can_write_eof():
            transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer left, or its time is over."""
        self._timer.cancel()
        self._connections.discard(self)
        self._on_lost()

    def shutdown(self) -> None:
        """The server stops."""
        self._transport.abort()
