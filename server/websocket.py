"""One socket: a read loop, a task per busy lane, a heartbeat. Carries out what `Connection` decides.

Written on bare ASGI: a node holds thousands of these, and every token passes here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.datastructures import Headers

from server.gate import Gate
from server.node import Ask, Node
from server.protocol import errors
from server.protocol.connection import Cancel, Close, Command, Connection, Find, Follow, Send, Start
from server.protocol.errors import WireError, frame
from server.record import unpack
from server.store.base import Answer, PositionLost, Ref, Store, StoreError
from server.store.watch import Watcher
from server.viewer import Viewer

log = structlog.get_logger(__name__)

AGE_LIMIT = 3600.0  # seconds
BEAT = 5.0  # seconds between looks at what is quiet
QUIET = 15.0  # seconds without an event after which a viewer is told what it waits for
SEND_DEADLINE = 30.0  # seconds that one send may take before the reader counts as gone

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
SendMessage = Callable[[Message], Awaitable[None]]


class Gone(Exception):  # noqa: N818
    """The peer left; nothing can be sent any more."""


class Endpoint:
    """The ASGI application behind `/v1/responses` for WebSockets."""

    def __init__(self, gate: Gate, node: Node, store: Store, watcher: Watcher) -> None:
        self.gate = gate
        self.node = node
        self.store = store
        self.watcher = watcher
        self.sockets: set[Socket] = set()

    async def __call__(self, scope: Message, receive: Receive, send: SendMessage) -> None:
        """Serve one socket from its handshake to its end."""
        await receive()  # websocket.connect
        headers = Headers(scope=scope)
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        try:
            caller = await self.gate.websocket(headers, dict(query).get("ticket"))
        except WireError as error:
            await refuse(send, error)
            return
        await send({"type": "websocket.accept"})
        socket = Socket(self, caller, receive, send, {"traceparent": headers.get("traceparent", "")})
        self.sockets.add(socket)
        self.node.telemetry.now.sockets = len(self.sockets)
        try:
            await socket.serve(query)
        finally:
            self.sockets.discard(socket)
            self.node.telemetry.now.sockets = len(self.sockets)

    async def close(self, code: int, reason: str) -> None:
        """Close every socket."""
        await asyncio.gather(*(socket.close(code, reason) for socket in list(self.sockets)))


async def refuse(send: SendMessage, error: WireError) -> None:
    """Answer the handshake with an HTTP error in the official body."""
    body = orjson.dumps(errors.envelope(error))
    start = {
        "type": "websocket.http.response.start",
        "status": error.status,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})


class Socket:
    """A connection's shell."""

    def __init__(
        self, endpoint: Endpoint, caller: str, receive: Receive, send: SendMessage, headers: dict[str, str]
    ) -> None:
        self.node = endpoint.node
        self.store = endpoint.store
        self.watcher = endpoint.watcher
        self.caller = caller
        self.headers = headers  # of the handshake, as far as turns need them
        self.connection = Connection()
        self.viewers: dict[Viewer, float] = {}  # with the time of the last event each was given
        self.tasks: set[asyncio.Task[None]] = set()
        self.opened = time.monotonic()
        self.closed = False
        self.blocked_since: float | None = None  # while a send waits for the peer to read
        self._receive = receive
        self._send = send

    async def serve(self, query: Sequence[tuple[str, str]]) -> None:
        """Read until the peer leaves. Turns go on without this socket; only its viewers end."""
        self._spawn(self._heartbeat())
        try:
            await self._resume_from(query)
            while (text := await self._next()) is not None:
                await self._perform(text)
        except Gone:
            pass
        finally:
            self.closed = True
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a code that tells the client what to do next."""
        if self.closed:
            return
        self.closed = True
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception as error:  # servers raise many things for a peer that is gone
            log.debug("close failed", error=type(error).__name__)

    # -- commands ------------------------------------------------------------------------------------------------

    async def _next(self) -> list[Command] | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return self.connection.receive_binary() if text is None else self.connection.receive(text)

    async def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send(frame=text):
                    await self._send_text(text)
                case Close(code=code, reason=reason):
                    await self.close(code, reason)
                case Start(lane=lane):
                    self._spawn(self._guard(lane, self._start(command)))
                case Follow(lane=lane):
                    self._spawn(self._guard(lane, self._follow(command)))
                case Find():
                    self._spawn(self._find(command))
                case Cancel(response_id=id):
                    self._spawn(self._cancel(id))

    async def _resume_from(self, query: Sequence[tuple[str, str]]) -> None:
        """`resume`, `starting_after` and `stream_id` may repeat together."""
        values = {name: [v for n, v in query if n == name] for name in ("resume", "starting_after", "stream_id")}
        for index, id in enumerate(values["resume"]):
            after, lane = (values[name][index : index + 1] for name in ("starting_after", "stream_id"))
            await self._perform(self.connection.resume(id, after[0] if after else None, lane[0] if lane else None))

    async def _start(self, command: Start) -> None:
        ask = Ask(self.caller, command.request, command.fingerprint, command.lane, command.remembered, self.headers)
        admitted = await self.node.create(ask)
        await self._show(Viewer(self.watcher, admitted.ref, admitted.record, -1, command.lane), command.lane)

    async def _find(self, command: Find) -> None:
        try:
            turn = await self.store.turn(Ref(self.caller, command.response_id))
            if turn is None:
                raise await self._lost(command.response_id)
            lane = unpack(turn.record).lane
            await self._perform(self.connection.found(command, lane))
        except WireError as error:
            await self._send_text(frame(error, command.lane))
        except StoreError:
            await self._send_text(frame(errors.overloaded("The log cannot be read at the moment."), command.lane))

    async def _follow(self, command: Follow) -> None:
        ref = Ref(self.caller, command.response_id)
        turn = await self.store.turn(ref)
        if turn is None:
            raise await self._lost(ref.id)
        viewer = Viewer(self.watcher, ref, unpack(turn.record), command.after, command.lane)
        about = {"response_id": ref.id, "status": turn.status, "last_sequence_number": turn.top}
        await self._notice("throughline:resumed", max(command.after, 0), command.lane, about)
        await self._show(viewer, command.lane)

    async def _show(self, viewer: Viewer, lane: str | None) -> None:
        self.viewers[viewer] = time.monotonic()
        try:
            async for frames in viewer.frames():
                for _, text in frames:
                    await self._send_text(text)
                self.connection.number = viewer.number
                self.viewers[viewer] = time.monotonic()
        except PositionLost as error:
            raise await self._lost(viewer.ref.id, str(error)) from None
        finally:
            del self.viewers[viewer]
        output = viewer.final["output"] if viewer.final else []
        latest = None if viewer.record.response["store"] else viewer.record.remembered(output)
        await self._perform(self.connection.ended(lane, latest))

    async def _cancel(self, id: str) -> None:
        outcome = await self.node.cancel(Ref(self.caller, id))
        if outcome.answer is Answer.LOST:
            await self._send_text(frame(errors.not_found("response", id)))
        else:
            await self._notice("throughline:cancelled", self.connection.number, None, {"response_id": id})

    async def _lost(self, id: str, why: str = "This response's events are no longer kept.") -> WireError:
        """Gone: show the stored response, where there is one."""
        stored = await self.store.stored(Ref(self.caller, id))
        if stored is None:
            return errors.not_found("response", id)
        return errors.position_lost(why, orjson.loads(stored.response))

    async def _guard(self, lane: str | None, job: Coroutine[Any, Any, None]) -> None:
        """A lane's job ends in its last event or in one error, never in silence."""
        try:
            await job
        except WireError as error:
            await self._perform(self.connection.failed(lane, error))
        except StoreError as error:
            log.warning("store failed", error=str(error))
            await self._perform(self.connection.failed(lane, errors.overloaded("The log is not available.")))
        except Gone:
            pass
        except Exception:
            log.exception("a lane failed")
            await self._perform(self.connection.failed(lane, errors.internal()))

    # -- sending -------------------------------------------------------------------------------------------------

    async def _send_text(self, text: str) -> None:
        if self.closed:
            raise Gone
        self.blocked_since = time.monotonic()
        try:
            await self._send({"type": "websocket.send", "text": text})
        except Exception as error:  # the peer left: servers raise many things, and all mean this
            self.closed = True
            raise Gone from error
        self.blocked_since = None

    async def _notice(self, type: str, number: int, lane: str | None, about: dict[str, Any]) -> None:
        """An event of ours: not in the log, so it repeats the number of the last event."""
        event = {"type": type, "sequence_number": number, **about}
        await self._send_text(orjson.dumps(event if lane is None else event | {"stream_id": lane}).decode())

    async def _heartbeat(self) -> None:
        while not self.closed:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            if self.blocked_since is not None and now - self.blocked_since > SEND_DEADLINE:
                await self.close(1013, "reader too slow")
            elif now - self.opened > AGE_LIMIT:
                await self._perform(self.connection.expire())
            else:
                await self._tell_quiet(now)

    async def _tell_quiet(self, now: float) -> None:
        for viewer, last in list(self.viewers.items()):
            if now - last >= QUIET:
                type, about = self.node.whereabouts(viewer.ref, begun=viewer.begun)
                await self._notice(
                    type, max(viewer.number, 0), viewer.record.lane, {"response_id": viewer.ref.id, **about}
                )
                self.viewers[viewer] = now

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), Gone):
            log.error("a socket's task failed", exc_info=task.exception())
