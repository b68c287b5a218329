"""Reading a WebSocket in slices, so that a read of many small frames holds nobody up.

The event loop reads 256 KiB at once. As forty thousand pings or empty messages, that is work for a fifth of a second;
between two slices others get a turn.
"""

from typing import Any

from server.web.transport.protocols import WebSocketProtocol

SLICE_BYTES = 8 * 1024


class SlicedWebSocketProtocol(WebSocketProtocol):
    """A WebSocket whose frames are parsed slice by slice, once its handshake is through.

    Reading pauses until the last slice is through: no more than one read waits here.
    """

    __slots__ = ("unread",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.unread = b""  # what is still to come of the data that arrived

    def data_received(self, data: bytes) -> None:
        """Take what arrived: at once where it is short, and once the handshake is answered where it came too early."""
        if self.unread or not self.handshake_complete:
            self.unread += data
            self.transport.pause_reading()
        elif len(data) <= SLICE_BYTES:
            super().data_received(data)
        else:
            self.unread = data
            self.transport.pause_reading()
            self._next_slice()

    async def send(self, message: Any) -> None:
        """As uvicorn; and after the handshake's answer look at what came before it."""
        await super().send(message)
        if message["type"] == "websocket.accept" and self.unread:
            self._next_slice()

    def _next_slice(self) -> None:
        data, self.unread = self.unread[:SLICE_BYTES], self.unread[SLICE_BYTES:]
        if self.transport.is_closing():
            self.unread = b""
            return
        super().data_received(data)
        if self.unread:
            self.loop.call_soon(self._next_slice)
        elif not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
