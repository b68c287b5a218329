"""uvicorn's WebSocket, with bounds where it has none, and a shorter way out for frames.

uvicorn's `send` waits while more than 64 KiB are unsent, and then takes one whole message.
Four things would still let one client cost much: every ping is answered at once, also to a client that reads nothing; a
connection that is closed with unsent bytes stays until its peer reads; a message in a million pieces is a million
objects; and one whose pieces stop coming is kept. What comes before the handshake is in `http_protocol`.
"""

import asyncio
import socket
from asyncio.transports import BaseTransport
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.protocol import Protocol as Frames

from server.web.transport.lean_sync import LeanEvent, LeanQueue
from server.web.transport.limits import ConnectionTable  # noqa: TC001
from server.web.transport.outbound import LINK, Job

MAX_PONGS = 64  # that are written at once; RFC 6455, 5.5.3 asks only for the latest
LINGER_SECONDS = 10.0  # seconds in which the peer may read what was said to it before the end
MESSAGE_SECONDS = 60.0  # seconds in which the last piece of a message must follow its first


# An object's dictionary of more than thirty fields shares nothing with others of its class, and takes 1.6 KB.
FIELDS = """
    config app loop logger root_path asgi_version app_state connections tasks default_headers
    transport server client scheme scope request response
    queue handshake_initiated handshake_complete close_sent disconnected close_timer close_timeout initial_response
    conn read_paused writable frames curr_msg_data_type
    ping_interval ping_timeout ping_timer pong_timer pending_ping_payload ping_sent_at last_ping_rtt
"""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket, from its handshake to its end. It is the `Link` of the application behind it."""

    __slots__ = (*FIELDS.split(), "abort_timer", "job", "message_timer", "pieces", "pong", "table")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queue = LeanQueue()  # type: ignore[assignment]  # has what uvicorn calls
        self.writable = LeanEvent()  # type: ignore[assignment]
        self.writable.set()
        self.job: Job | None = None  # what the application handed over, until it has returned
        self.pong = b""  # the latest that wait for the peer to read
        self.pieces = bytearray()  # of a message whose end is still to come
        self.abort_timer: asyncio.TimerHandle | None = None  # once nothing more will be said
        self.message_timer: asyncio.TimerHandle | None = None  # while a message came in part
        self.table: ConnectionTable[asyncio.BaseProtocol] | None = None  # while the caller is not known yet

    def connection_made(self, transport: BaseTransport) -> None:
        """A reader that stops is told so by the application: the kernel must not be quicker."""
        super().connection_made(transport)
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to be given up."""
        for timer in (self.abort_timer, self.message_timer):
            if timer is not None:
                timer.cancel()
        self._leave_table()
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        """Offer the application to write frames itself, as an extension of ASGI."""
        super().handle_connect(event)
        if not self.handshake_complete:
            self.conn.parser = Frames.parse(self.conn)  # what it goes on with; but the first one keeps the request
            next(self.conn.parser)
            self.scope["extensions"][LINK] = self  # type: ignore[assignment]  # the task that reads it begins later

    def hand_over(self, job: Job) -> None:
        """See `Link`."""
        self.job = job

    async def run_asgi(self) -> None:
        """As uvicorn; then what the application handed over, while nothing is kept of the way to the application."""
        try:
            await self.app(self.scope, self.receive, self.send)
            if self.job is not None:
                serving, self.job = self.job(), None
                del self.scope, self.request, self.response
                await serving
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        else:
            if not self.handshake_complete:
                self.logger.error("ASGI callable returned without completing handshake.")
                self.send_500_response()
        if self.close_timer is None:
            self.transport.close()

    def try_write(self, frames: bytes) -> bool:
        """Write whole frames, or nothing while the peer has to read first. Raises ClientDisconnected.

        A message through ASGI costs several calls, and uvloop one system call for each: this takes many at once.
        """
        if self.disconnected or self.close_sent or self.conn.state is not OPEN:
            raise ClientDisconnected
        if not self.writable.is_set():
            return False
        self.transport.write(frames)
        return True

    async def write(self, frames: bytes) -> None:
        """The same, once the peer has read enough."""
        while not self.try_write(frames):
            await self.writable.wait()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application has ended: a peer that does not read its goodbye is given up after a while."""
        super().on_task_complete(task)
        self._give_up_later()

    def keepalive_timeout(self) -> None:
        """The peer did not answer a ping; the application hears of it when the connection is lost."""
        super().keepalive_timeout()
        self._give_up_later()

    def handle_ping(self) -> None:
        """Answer now, or when the peer reads again. The first ping of several takes the answers to all of them."""
        self.pong = b"".join(self.conn.data_to_send()[-MAX_PONGS:]) or self.pong
        if self.writable.is_set():
            self._answer()

    def resume_writing(self) -> None:
        """The peer reads again: send the pongs that waited first."""
        self._answer()
        super().resume_writing()

    async def send(self, message: Any) -> None:
        """As uvicorn; but a goodbye never waits: it takes its place behind what is unsent.

        And a handshake that was refused is complete: uvicorn would log each of them as the application's error.
        """
        if message["type"] == "websocket.close":
            self.writable.set()
        if message["type"] == "websocket.accept":
            self._leave_table()
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True

    def handle_text(self, event: Frame) -> None:
        """A message, or its first piece."""
        super().handle_text(event)
        self._expect_end(event)

    def handle_bytes(self, event: Frame) -> None:
        """A message, or its first piece."""
        super().handle_bytes(event)
        self._expect_end(event)

    def handle_cont(self, event: Frame) -> None:
        """Put pieces together as they come."""
        self.pieces += b"".join(self.frames) + event.data
        self.frames = []
        if event.fin:
            if self.message_timer is not None:
                self.message_timer.cancel()
            self.frames, self.pieces = [bytes(self.pieces)], bytearray()
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """As uvicorn, which would log bad UTF-8 with a traceback: any client could fill the log with them."""
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(self.frames[0]):
            self.conn.send_close(1007)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def _leave_table(self) -> None:
        if self.table is not None:
            self.table.leave(self)
            self.table = None

    def _answer(self) -> None:
        pong, self.pong = self.pong, b""
        if pong and not self.transport.is_closing():
            self.transport.write(pong)

    def _expect_end(self, event: Frame) -> None:
        """Pings keep a connection alive whatever it says; a message that never ends would be kept as long."""
        if not event.fin:
            self.message_timer = self.loop.call_later(MESSAGE_SECONDS, self._stop_waiting)

    def _stop_waiting(self) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(1008, "a message without its end")
        self.handle_parser_exception()

    def _give_up_later(self) -> None:
        if not self.disconnected and self.abort_timer is None:
            self.abort_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
