"""One socket: a read loop, a task per busy lane, a tick from time to time. Carries out what `Connection` decides.

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

from engine.offload import offloaded
from server.background import Supervisor
from server.node.errors import is_fault, wire_error
from server.node.service import TurnService
from server.protocol import errors, extensions
from server.protocol.budget import ByteBudget, ByteShare
from server.protocol.connection import (
    REMEMBERED_BYTES,
    WAITING_BYTES,
    Cancel,
    Close,
    Command,
    Connection,
    Find,
    Follow,
    Reread,
    Send,
    Start,
    read_frame,
)
from server.protocol.errors import WireError, frame
from server.protocol.extensions import Cancelled, Notice, Resumed
from server.store.errors import PositionLost, StoreError
from server.store.types import TurnRef, WriteStatus
from server.telemetry.instruments import Gauges
from server.turns.prompt import TurnRequest
from server.turns.spec import unpack
from server.turns.subscription import TurnSubscription
from server.web.auth import Authenticator
from server.web.errors import http_headers
from server.web.periodic import PeriodicChecker
from server.web.transport.outbound import LINK, Job, Link, Message, OutboundBuffer, PeerGone

SLOW_READER = 1013, "reader too slow"  # try again later: reconnect and resume
STOPPING = 1012, "this node is stopping"  # service restart: reconnect and resume elsewhere
WAITING_LIMIT = 128 * 1024 * 1024  # bytes of what waits in the lanes of all sockets, if nobody says otherwise
REMEMBERED_LIMIT = 256 * 1024 * 1024  # and of their unkept turns
RETURNING = 500  # clients a second that other nodes are to take in when this one stops

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[Message]]
SendMessage = Callable[[Message], Awaitable[None]]
LaneJob = Callable[[], Coroutine[Any, Any, TurnSubscription]]  # finds or makes the turn that its lane is to show
Resume = tuple[str, str | None, str | None]  # a turn, after which event, on which lane


class SocketLimits(msgspec.Struct, frozen=True):
    """Times of one connection, in seconds."""

    age: float = 3600.0  # of a connection, then it is closed with 1000
    tick: float = 5.0  # between two checks of what time alone brings
    quiet: float = 15.0  # without an event, after which a viewer is told what it waits for
    send: float = 30.0  # that one send may take before the reader is closed with 1013
    goodbye: float = 2.0  # for a close frame to get out


class WebSocketEndpoint:
    """The ASGI application behind `/v1/responses` for WebSockets, and all sockets that are open."""

    def __init__(
        self,
        authenticator: Authenticator,
        service: TurnService,
        gauges: Gauges,
        limits: SocketLimits | None = None,
        *,
        waiting: ByteBudget | None = None,
        remembered: ByteBudget | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.limits = limits or SocketLimits()
        # Of all sockets: messages that wait in lanes, and unkept turns that may be continued.
        self.waiting = waiting or ByteBudget(WAITING_LIMIT)
        self.remembered = remembered or ByteBudget(REMEMBERED_LIMIT)
        self.service = service
        self.is_draining = False  # the node stops: nobody else gets in
        self.authenticator = authenticator
        self._gauges = gauges
        self._checker: PeriodicChecker[ClientSocket] = PeriodicChecker(lambda: self.limits.tick, supervisor)
        self.sockets = self._checker.members

    async def __call__(self, scope: Message, receive: Receive, send: SendMessage) -> None:
        """Answer a handshake, and hand the socket over to be served to its end."""
        await receive()  # websocket.connect
        headers = Headers(scope=scope)
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        try:
            self._check_open()  # before a ticket is used up here
            caller = await self.authenticator.websocket_caller(headers, dict(query).get("ticket"))
            self._check_open()
        except (WireError, StoreError) as error:
            await refuse(send, wire_error(error))
            return
        await send({"type": "websocket.accept"})
        link: Link = scope["extensions"][LINK]
        socket = ClientSocket(self, caller, link, headers.get("traceparent", ""))
        link.hand_over(partial(socket.serve, tuple(resumes(query))))

    def add(self, socket: "ClientSocket") -> None:
        """A socket is served from now on."""
        self._checker.add(socket)
        self._gauges.sockets = len(self.sockets)

    def discard(self, socket: "ClientSocket") -> None:
        """It is not served any more."""
        self._checker.discard(socket)
        self._gauges.sockets = len(self.sockets)

    @property
    def spread(self) -> float:
        """Seconds over which to close all sockets, so that the other nodes can take their clients in."""
        return len(self.sockets) / RETURNING

    async def close(self, code: int, reason: str, *, spread: float = 0.0) -> None:
        """Close every socket, one after the other over `spread` seconds, so that their clients do not return at once.

        The order is random: sockets that were opened together should not come back together.
        """
        sockets = random.sample(list(self.sockets), len(self.sockets))
        await asyncio.gather(
            *(_after(spread * n / len(sockets), partial(each.close, code, reason)) for n, each in enumerate(sockets))
        )

    def _check_open(self) -> None:
        if self.is_draining:
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
            *((name.encode(), value.encode()) for name, value in http_headers(error).items()),
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


class FrameSink:
    """Sends what a subscription pushes, where the socket can take it at once."""

    __slots__ = ("_socket", "_subscription")

    def __init__(self, socket: "ClientSocket", subscription: TurnSubscription) -> None:
        self._socket = socket
        self._subscription = subscription

    def try_push(self, frames: list[bytes], /) -> bool:
        """Write frames that end at the subscription's position."""
        if not self._socket.outbound.try_send(frames):
            return False
        self._socket.on_sent(self._subscription)
        return True


class ClientSocket:
    """A connection's shell. There may be thousands that do nothing."""

    __slots__ = (
        "_caller",
        "_endpoint",
        "_is_over",
        "_limits",
        "_link",
        "_opened_at",
        "_reader",
        "_service",
        "_traceparent",
        "connection",
        "outbound",
        "tasks",
        "viewed",
    )

    def __init__(self, endpoint: WebSocketEndpoint, caller: str, link: Link, traceparent: str) -> None:
        self.outbound = OutboundBuffer(link)
        self._endpoint = endpoint
        self._limits = endpoint.limits
        self._service = endpoint.service
        self._caller = caller
        self._traceparent = traceparent  # of the handshake
        self.connection = Connection(
            ByteShare(WAITING_BYTES, endpoint.waiting, caller), ByteShare(REMEMBERED_BYTES, endpoint.remembered, caller)
        )
        self.viewed: dict[TurnSubscription, float] = {}  # with the time of the last event that each was given
        self.tasks: set[asyncio.Task[None]] = set()
        self._opened_at = time.monotonic()
        self._link = link
        self._reader: asyncio.Task[Any] | None = None  # while it reads
        self._is_over = False  # nothing is to be read any more

    async def serve(self, resumed: Sequence[Resume]) -> None:
        """Read until the peer leaves, or is given up. Turns go on without this socket; only its viewers end."""
        self._endpoint.add(self)
        self._reader = reader = asyncio.current_task()
        try:
            await self._read(resumed)
        except asyncio.CancelledError:
            if not self._is_over or reader is None or reader.uncancel():  # others want it to end
                raise
        except Exception as error:
            log.error("socket_reader_failed", exc_info=error)
        finally:
            self._reader = None
            self._endpoint.discard(self)
            self.outbound.closed = True
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.connection.close()

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a code that tells the client what to do next."""
        if self.outbound.closed:
            return
        self.outbound.closed = True
        try:
            async with asyncio.timeout(self._limits.goodbye):  # a peer that does not read blocks this too
                await self._link.send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            self._stop_reading()
        except Exception as error:  # servers raise many things for a peer that is gone
            log.debug("socket_close_failed", error=type(error).__name__)

    def _stop_reading(self) -> None:
        self._is_over = True
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self, resumed: Sequence[Resume]) -> None:
        try:
            for id, after, lane in resumed:
                await self._perform(self.connection.resume(id, after, lane))
            while (message := await self._link.receive())["type"] != "websocket.disconnect":
                await self._perform(await self._received(message))
                del message  # else a quiet socket would keep the last thing it was told
                await asyncio.sleep(0)  # messages that have all arrived are read without a pause: others want a turn
        except PeerGone:
            await self._wait_for_disconnect()

    async def _wait_for_disconnect(self) -> None:
        """Nothing can be said, and the peer's own goodbye is still to come."""
        while (await self._link.receive())["type"] != "websocket.disconnect":
            pass

    # -- commands ------------------------------------------------------------------------------------------------

    async def _received(self, message: Message) -> list[Command]:
        text = message.get("text")
        if text is None:
            return self.connection.receive_binary()
        return self.connection.take(await offloaded(len(text), read_frame, text), text)

    async def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send(frame=text):
                    await self.outbound.send([text.encode()])
                case Close(code=code, reason=reason):
                    await self.close(code, reason)
                case Start(lane=lane):
                    self._spawn(self._run_on_lane(lane, partial(self._start, command)))
                case Reread(lane=lane):
                    self._spawn(self._run_on_lane(lane, partial(self._reread, command)))
                case Follow(lane=lane):
                    self._spawn(self._run_on_lane(lane, partial(self._follow, command)))
                case Find(lane=lane):
                    self._spawn(self._run_beside_lanes(lane, partial(self._find, command)))
                case Cancel(response_id=id):
                    self._spawn(self._run_beside_lanes(None, partial(self._cancel, id)))

    async def _reread(self, command: Reread) -> TurnSubscription:
        text = command.text.decode()
        return await self._start(command.start(await offloaded(len(text), read_frame, text)))

    async def _start(self, command: Start) -> TurnSubscription:
        request = TurnRequest(
            self._caller,
            command.request,
            command.fingerprint,
            command.lane,
            command.remembered,
            self._traceparent,
            size=command.size,
            weight=command.weight,
        )
        admitted = await self._service.create(request)
        return self._service.subscribe(admitted.ref, admitted.spec, -1, command.lane)

    async def _find(self, command: Find) -> None:
        turn = await self._service.find_turn(self._ref(command.response_id), command.after)
        await self._perform(self.connection.found(command, unpack(turn.record).lane))

    async def _follow(self, command: Follow) -> TurnSubscription:
        ref = self._ref(command.response_id)
        turn = await self._service.find_turn(ref, command.after)
        subscription = self._service.subscribe(ref, unpack(turn.record), command.after, command.lane)
        await self._notify(Resumed(max(command.after, 0), ref.id, turn.status, turn.last_seq), command.lane)
        return subscription

    async def _show(self, subscription: TurnSubscription) -> None:
        self.viewed[subscription] = time.monotonic()
        subscription.sink = FrameSink(self, subscription)
        try:
            async with aclosing(subscription.frames()) as batches:
                async for frames in batches:
                    await self.outbound.send(frames)
                    self.on_sent(subscription)
        except PositionLost as error:
            raise await self._service.position_lost(subscription.ref, error) from None
        finally:
            subscription.sink = None
            del self.viewed[subscription]
        remembered = await self._service.remembered(subscription)
        await self._perform(self.connection.ended(subscription.lane, remembered))

    async def _cancel(self, id: str) -> None:
        ref = self._ref(id)
        result = await self._service.cancel(ref)
        response = None if result.status is WriteStatus.OK else await self._service.finished_response(ref)
        if result.status is WriteStatus.LOST and response is None:
            raise errors.not_found("response", id)
        seq = self.connection.last_sent
        shown = msgspec.UNSET if response is None else msgspec.Raw(orjson.dumps(response))
        await self._notify(Cancelled(seq, id, shown), None)

    def _ref(self, response_id: str) -> TurnRef:
        return TurnRef(self._caller, response_id)

    async def _run_beside_lanes(self, lane: str | None, job: Job) -> None:
        """A question beside the lanes is answered, or refused."""
        try:
            await job()
        except PeerGone:
            pass
        except Exception as error:
            await self.outbound.send([frame(_reported(error), lane).encode()])
        finally:
            self.connection.answered()

    async def _run_on_lane(self, lane: str | None, job: LaneJob) -> None:
        """A lane's job ends in its last event or in one error, never in silence."""
        try:
            subscription = await job()
            del job  # the request, which nobody needs while its answer is shown
            await self._show(subscription)
        except PeerGone:
            pass
        except Exception as error:
            await self._perform(self.connection.failed(lane, _reported(error)))

    # -- sending -------------------------------------------------------------------------------------------------

    def on_sent(self, subscription: TurnSubscription) -> None:
        """The events up to the subscription's position were written."""
        self.connection.last_sent = subscription.last_seq
        self.viewed[subscription] = time.monotonic()

    async def _notify(self, notice: Notice, lane: str | None) -> None:
        await self.outbound.send([extensions.frame(notice, lane)])

    def on_tick(self, now: float) -> None:
        """What time alone brings. Sends nothing itself: a send may wait for the peer, and this is who notices that."""
        if self.outbound.closed:
            return
        if self.outbound.blocked_since is not None:
            if now - self.outbound.blocked_since > self._limits.send:
                self._spawn(self.close(*SLOW_READER))
        elif now - self._opened_at > self._limits.age:
            self._spawn(self._perform(self.connection.expire()))
        else:
            self._tell_quiet_viewers(now)

    def _tell_quiet_viewers(self, now: float) -> None:
        for subscription, last in self.viewed.items():
            if now - last >= self._limits.quiet:
                self.viewed[subscription] = now
                self._spawn(self._notify(self._service.whereabouts(subscription), subscription.lane))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), PeerGone):
            log.error("socket_task_failed", exc_info=task.exception())


def _reported(error: Exception) -> WireError:
    """What a client is told of an exception; an operator hears of what is not the client's doing."""
    wire = wire_error(error)
    if isinstance(error, StoreError):
        if is_fault(error):
            log.warning("store_failed", error=str(error))
    elif is_fault(error):
        log.error("socket_job_failed", exc_info=error)
    return wire
