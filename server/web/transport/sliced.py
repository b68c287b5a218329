"""Reading what arrives in slices, so that a read of many small things holds nobody up.

The event loop reads 256 KiB at once. As forty thousand pings, empty messages or pipelined requests, that is work for a
fifth of a second; between two slices others get a turn.
"""

import asyncio
from typing import Any

from server.web.transport.protocols import HttpProtocol, WebSocketProtocol

SLICE_BYTES = 8 * 1024


class SlicedReading:
    """In front of a protocol class, whose `data_received` gets slices. Reading pauses until the last one is through."""

    loop: asyncio.AbstractEventLoop
    transport: Any
    unread: bytes  # what is still to come of the data that arrived

    def data_received(self, data: bytes) -> None:
        """Take what arrived: at once where it is short."""
        if self.unread:
            self.unread += data
            self.transport.pause_reading()
        elif len(data) <= SLICE_BYTES or not self.may_slice():
            self.slice_received(data)
        else:
            self.unread = data
            self.transport.pause_reading()
            self._next_slice()

    def may_slice(self) -> bool:
        """Whether the protocol can take part of what arrived."""
        return True

    def slice_received(self, data: bytes) -> None:
        """Pass a slice on to the protocol."""
        raise NotImplementedError

    def wants_more(self) -> bool:
        """Whether the protocol itself would read on."""
        raise NotImplementedError

    def _next_slice(self) -> None:
        data, self.unread = self.unread[:SLICE_BYTES], self.unread[SLICE_BYTES:]
        if self.transport.is_closing():
            self.unread = b""
            return
        self.slice_received(data)
        if self.transport.get_protocol() is not self:  # after a handshake, behind which nothing may come yet
            self.unread = b""
            self.transport.resume_reading()
        elif self.unread:
            self.loop.call_soon(self._next_slice)
        elif self.wants_more():
            self.transport.resume_reading()


class SlicedHttpProtocol(SlicedReading, HttpProtocol):
    """HTTP in slices."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.unread = b""

    def slice_received(self, data: bytes) -> None:
        """See `SlicedReading`."""
        HttpProtocol.data_received(self, data)

    def wants_more(self) -> bool:
        """See `SlicedReading`."""
        return not self.flow.read_paused


class SlicedWebSocketProtocol(SlicedReading, WebSocketProtocol):
    """A WebSocket in slices, once its handshake is through."""

    __slots__ = ("unread",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.unread = b""

    def may_slice(self) -> bool:
        """See `SlicedReading`."""
        return self.handshake_complete

    def slice_received(self, data: bytes) -> None:
        """See `SlicedReading`."""
        WebSocketProtocol.data_received(self, data)

    def wants_more(self) -> bool:
        """See `SlicedReading`."""
        return not self.read_paused
