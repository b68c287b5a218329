"""One socket: a read loop, a task per busy lane, a look from time to time. Carries out what `Connection` decides.

Written on bare ASGI: a node holds thousands of these, and every token passes here.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import orjson
import structlog
from starlette.datastructures import Headers

from server.log.subscriber import LogSubscriber
from server.node.node import Node
from server.protocol import errors
from server.protocol.connection import Cancel, Close, Command, Connection, Find, Follow, Remembered, Send, Start
from server.protocol.errors import WireError, frame
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreError
from server.store.types import Turn, TurnRef, WriteStatus
from server.turns.prompt import TurnRequest
from server.turns.spec import TurnSpec, unpack
from server.turns.subscription import TurnSubscription, turn_at
from server.web.gate import Gate
from server.web.periodic import PeriodicChecker
from server.web.transport.outbound import LINK, Job, Link, Message, OutboundBuffer, PeerGone

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[Message]]
SendMessage = Callable[[Message], Awaitable[None]]
Resume = tuple[str, str | None, str | None]  # a turn, after which event, on which lane


class SocketLimits(msgspec.Struct, frozen=True):
    """Seconds."""

    age: float = 3600.0  # of a connection
    beat: float = 5.0  # between looks at what is quiet
    quiet: float = 15.0  # without an event, after which a viewer is told what it waits for
    send: float = 30.0  # that one send may take before the reader counts as gone
    goodbye: float = 2.0  # for a close frame to get out


class WebSocketEndpoint:
    """The ASGI application behind `/v1/responses` for WebSockets."""

    def __init__(
        self, gate: Gate, node: Node, store: Store, watcher: LogSubscriber, limits: SocketLimits | None = None
    ) -> None:
        self.limits = limits or SocketLimits()
        self.gate = gate
        self.node = node
        self.store = store
        self.watcher = watcher
        self.rounds: PeriodicChecker[ClientSocket] = PeriodicChecker(lambda: self.limits.beat)
        self.sockets = self.rounds.members
        self.draining = False  # set when the node stops: nobody else gets in

    async def __call__(self, scope: Message, receive: Receive, send: SendMessage) -> None:
        """Answer a handshake, and hand the socket over to be served to its end."""
        await receive()  # websocket.connect
        headers = Headers(scope=scope)
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        try:
            self._check_open()  # before a ticket is used up here
            caller = await self.gate.websocket(headers, dict(query).get("ticket"))
            self._check_open()
        except WireError as error:
            await refuse(send, error)
            return
        except StoreError:
            await refuse(send, errors.overloaded("The store is not available."))
            return
        await send({"type": "websocket.accept"})
        link: Link = scope["extensions"][LINK]
        socket = ClientSocket(self, caller, link, headers.get("traceparent", ""))
        link.hand_over(partial(socket.serve, tuple(resumes(query))))

    def enter(self, socket: "ClientSocket") -> None:
        """It is open."""
        self.rounds.add(socket)
        self.node.telemetry.gauges.sockets = len(self.sockets)

    def leave(self, socket: "ClientSocket") -> None:
        """It is not served any more."""
        self.rounds.discard(socket)
        self.node.telemetry.gauges.sockets = len(self.sockets)

    async def close(self, code: int, reason: str, *, spread: float = 0.0) -> None:
        """Close every socket, one after the other over `spread` seconds, so that their clients do not return at once.

        The order is random: sockets that were opened together should not come back together.
        """
        sockets = random.sample(list(self.sockets), len(self.sockets))
        await asyncio.gather(
            *(_after(spread * n / len(sockets), partial(each.close, code, reason)) for n, each in enumerate(sockets))
        )

    def _check_open(self) -> None:
        if self.draining:
            raise errors.overloaded("This node is stopping.")


async def _after(seconds: float, job: Job) -> None:
    await asyncio.sleep(seconds)
    await job()


async def refuse(send: SendMessage, error: WireError) -> None:
    """Answer the handshake with an HTTP error in the official body."""
    body = orjson.dumps(errors.envelope(error))
    start = {
        "type": "websocket.http.response.start",
        "status": error.status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
        ],
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})


def resumes(query: Sequence[tuple[str, str]]) -> Iterator[Resume]:
    """`resume`, `starting_after` and `stream_id` may repeat together."""
    values = {name: [v for n, v in query if n == name] for name in ("resume", "starting_after", "stream_id")}
    for index, id in enumerate(values["resume"]):
        after, lane = (values[name][index : index + 1] for name in ("starting_after", "stream_id"))
        yield id, after[0] if after else None, lane[0] if lane else None


class ClientSocket:
    """A connection's shell. There may be thousands that do nothing."""

    __slots__ = (
        "_link",
        "_over",
        "_reader",
        "caller",
        "connection",
        "endpoint",
        "limits",
        "node",
        "opened",
        "outbound",
        "store",
        "tasks",
        "traceparent",
        "viewers",
        "watcher",
    )

    def __init__(self, endpoint: WebSocketEndpoint, caller: str, link: Link, traceparent: str) -> None:
        self.endpoint = endpoint
        self.limits = endpoint.limits
        self.node = endpoint.node
        self.store = endpoint.store
        self.watcher = endpoint.watcher
        self.caller = caller
        self.traceparent = traceparent  # of the handshake
        self.connection = Connection()
        self.viewers: dict[TurnSubscription, float] = {}  # with the time of the last event each was given
        self.tasks: set[asyncio.Task[None]] = set()
        self.opened = time.monotonic()
        self.outbound = OutboundBuffer(link)
        self._link = link
        self._reader: asyncio.Task[Any] | None = None  # while it reads
        self._over = False  # nothing is to be read any more

    async def serve(self, resumed: Sequence[Resume]) -> None:
        """Read until the peer leaves, or is given up. Turns go on without this socket; only its viewers end."""
        self.endpoint.enter(self)
        self._reader = reader = asyncio.current_task()
        try:
            await self._read(resumed)
        except asyncio.CancelledError:
            if not self._over or reader is None or reader.uncancel():  # others want it to end
                raise
        except Exception as error:
            log.error("a socket's reader failed", exc_info=error)
        finally:
            self._reader = None
            self.endpoint.leave(self)
            self.outbound.closed = True
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a code that tells the client what to do next."""
        if self.outbound.closed:
            return
        self.outbound.closed = True
        try:
            async with asyncio.timeout(self.limits.goodbye):  # a peer that does not read blocks this too
                await self._link.send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            self._stop_reading()
        except Exception as error:  # servers raise many things for a peer that is gone
            log.debug("close failed", error=type(error).__name__)

    def _stop_reading(self) -> None:
        self._over = True
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self, resumed: Sequence[Resume]) -> None:
        try:
            for id, after, lane in resumed:
                await self._perform(self.connection.resume(id, after, lane))
            while (message := await self._link.receive())["type"] != "websocket.disconnect":
                await self._perform(self._said(message))
                del message  # else a quiet socket would keep the last thing it was told
                await asyncio.sleep(0)  # messages that have all arrived are read without a pause: others want a turn
        except PeerGone:
            await self._drain()

    async def _drain(self) -> None:
        """Nothing can be said, and the peer's own goodbye is still to come."""
        while (await self._link.receive())["type"] != "websocket.disconnect":
            pass

    # -- commands ------------------------------------------------------------------------------------------------

    def _said(self, message: Message) -> list[Command]:
        text = message.get("text")
        return self.connection.receive_binary() if text is None else self.connection.receive(text)

    async def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send(frame=text):
                    await self.outbound.send([text.encode()])
                case Close(code=code, reason=reason):
                    await self.close(code, reason)
                case Start(lane=lane):
                    self._spawn(self._guard(lane, partial(self._start, command)))
                case Follow(lane=lane):
                    self._spawn(self._guard(lane, partial(self._follow, command)))
                case Find(lane=lane):
                    self._spawn(self._answer(lane, partial(self._find, command)))
                case Cancel(response_id=id):
                    self._spawn(self._answer(None, partial(self._cancel, id)))

    async def _start(self, command: Start) -> None:
        headers = {"traceparent": self.traceparent}
        ask = TurnRequest(self.caller, command.request, command.fingerprint, command.lane, command.remembered, headers)
        admitted = await self.node.create(ask)
        await self._show(self._viewer(admitted.ref, admitted.record, -1, command.lane))

    async def _find(self, command: Find) -> None:
        turn = await self._turn(TurnRef(self.caller, command.response_id), command.after)
        await self._perform(self.connection.found(command, unpack(turn.record).lane))

    async def _follow(self, command: Follow) -> None:
        ref = TurnRef(self.caller, command.response_id)
        turn = await self._turn(ref, command.after)
        viewer = self._viewer(ref, unpack(turn.record), command.after, command.lane)
        about = {"response_id": ref.id, "status": turn.status, "last_sequence_number": turn.last_seq}
        await self._notice("throughline:resumed", max(command.after, 0), command.lane, about)
        await self._show(viewer)

    async def _turn(self, ref: TurnRef, after: int) -> Turn:
        """A turn whose events are kept. Raises WireError, with the stored response where that is all there is."""
        turn = await turn_at(self.store, ref, after)
        if turn is not None:
            return turn
        response = await self._stored(ref)
        if response is None:
            raise errors.not_found("response", ref.id)
        raise errors.position_lost("This response's events are no longer kept.", response)

    def _viewer(self, ref: TurnRef, record: TurnSpec, after: int, lane: str | None) -> TurnSubscription:
        return TurnSubscription(self.watcher, self.node.presence, ref, record, after, lane)

    async def _show(self, viewer: TurnSubscription) -> None:
        self.viewers[viewer] = time.monotonic()
        viewer.push = partial(self._push, viewer)
        try:
            async with aclosing(viewer.frames()) as seen:
                async for frames in seen:
                    await self._send_frames(viewer, frames)
        except PositionLost as error:
            raise errors.position_lost(f"{error}.", await self._stored(viewer.ref)) from None
        finally:
            viewer.push = None
            del self.viewers[viewer]
        await self._perform(self.connection.ended(viewer.lane, await self._latest(viewer)))

    async def _latest(self, viewer: TurnSubscription) -> Remembered | None:
        """What this connection must remember of a turn that nothing else keeps."""
        if viewer.record.response["store"]:
            return None
        final = viewer.final or await self._stored(viewer.ref)
        return None if final is None else viewer.record.remembered(final["output"])

    async def _cancel(self, id: str) -> None:
        ref = TurnRef(self.caller, id)
        outcome = await self.node.cancel(ref)
        response = None if outcome.status is WriteStatus.OK else await self._stored(ref)
        if outcome.status is WriteStatus.LOST and response is None:
            raise errors.not_found("response", id)
        about = {"response_id": id} if response is None else {"response_id": id, "response": response}
        await self._notice("throughline:cancelled", self.connection.number, None, about)

    async def _stored(self, ref: TurnRef) -> dict[str, Any] | None:
        stored = await self.store.response(ref)
        response: dict[str, Any] | None = None if stored is None else orjson.loads(stored.response)
        return response

    async def _answer(self, lane: str | None, job: Job) -> None:
        """A question beside the lanes is answered, or refused."""
        try:
            await job()
        except PeerGone:
            pass
        except Exception as error:
            await self.outbound.send([frame(_translated(error), lane).encode()])
        finally:
            self.connection.answered()

    async def _guard(self, lane: str | None, job: Job) -> None:
        """A lane's job ends in its last event or in one error, never in silence."""
        try:
            await job()
        except PeerGone:
            pass
        except Exception as error:
            await self._perform(self.connection.failed(lane, _translated(error)))

    # -- sending -------------------------------------------------------------------------------------------------

    async def _send_frames(self, viewer: TurnSubscription, frames: Sequence[bytes]) -> None:
        await self.outbound.send(frames)
        self._sent(viewer, viewer.number)

    def _push(self, viewer: TurnSubscription, frames: Sequence[bytes], number: int) -> bool:
        if not self.outbound.try_send(frames):
            return False
        self._sent(viewer, number)
        return True

    def _sent(self, viewer: TurnSubscription, number: int) -> None:
        self.connection.number = number
        self.viewers[viewer] = time.monotonic()

    async def _notice(self, type: str, number: int, lane: str | None, about: dict[str, Any]) -> None:
        """An event of ours: not in the log, so it repeats the number of the last event."""
        event = {"type": type, "sequence_number": number, **about}
        await self.outbound.send([orjson.dumps(event if lane is None else event | {"stream_id": lane})])

    def on_tick(self, now: float) -> None:
        """What time alone brings. Sends nothing itself: a send may wait for the peer, and this is who notices that."""
        if self.outbound.closed:
            return
        if self.outbound.blocked_since is not None:
            if now - self.outbound.blocked_since > self.limits.send:
                self._spawn(self.close(1013, "reader too slow"))
        elif now - self.opened > self.limits.age:
            self._spawn(self._perform(self.connection.expire()))
        else:
            self._tell_quiet(now)

    def _tell_quiet(self, now: float) -> None:
        for viewer, last in self.viewers.items():
            if now - last >= self.limits.quiet:
                self.viewers[viewer] = now
                self._spawn(self._whereabouts(viewer))

    async def _whereabouts(self, viewer: TurnSubscription) -> None:
        type, about = self.node.whereabouts(viewer.ref, begun=viewer.begun)
        await self._notice(type, max(viewer.number, 0), viewer.lane, {"response_id": viewer.ref.id, **about})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), PeerGone):
            log.error("a socket's task failed", exc_info=task.exception())


def _translated(error: Exception) -> WireError:
    """What a client is told of an exception."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, StoreError):
        log.warning("store failed", error=str(error))
        return errors.overloaded("The store is not available.")
    log.error("a socket's job failed", exc_info=error)
    return errors.internal()
