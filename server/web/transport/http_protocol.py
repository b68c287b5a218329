"""uvicorn's HTTP connection with bounds: time for heads and bodies, sizes, and how many may be unauthenticated.

uvicorn waits for ever for a head or a body, keeps a head of any size, and parses any number of requests ahead.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import httptools
import msgspec
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import Request  # noqa: TC002  # as those beside it

from server.protocol.errors import WireError, overloaded
from server.web.transport import rules
from server.web.transport.addresses import ClientAddresses
from server.web.transport.heads import HeadMeter
from server.web.transport.limits import ConnectionLimits, ConnectionTable, LogThrottle, Reason
from server.web.transport.refusals import RefusedConnection, answer
from server.web.transport.sliced import SlicedWebSocketProtocol

UNSENT_BYTES = 64 * 1024  # bytes in the kernel that are not on their way yet, besides as many in this process
READ_SECONDS = 30.0  # seconds for a reader over HTTP to make room for more, or it counts as gone
FLUSH_SECONDS = 60.0  # seconds for a peer without credentials to read 48 KiB, and for any to read the last ones
PIECE = 1024  # bytes the parser is given at once: that much may come unmeasured, and hold so many small requests

log = structlog.get_logger(__name__)


class ConnectionPolicy(msgspec.Struct):
    """What all connections of a server share."""

    table: ConnectionTable[asyncio.BaseProtocol]
    addresses: ClientAddresses
    accepts: Callable[[str | None], bool]  # whether an `Authorization` header holds valid credentials
    probes: frozenset[bytes]  # paths that are answered even if descriptors are scarce
    throttle: LogThrottle
    # What lets the page of an origin read an answer: errors that no application sees are for it, too.
    readable_by: Callable[[str | None], dict[str, str]] = lambda origin: {}

    @property
    def limits(self) -> ConnectionLimits:
        """The table's."""
        return self.table.limits


class HttpFlow(FlowControl):
    """Back pressure that the application cannot undo: it reads on while it waits for its client to leave."""

    is_held = False  # pipelined bytes wait to be parsed

    def resume_reading(self) -> None:
        """Unless what was read already has still to be parsed."""
        if not self.is_held:
            super().resume_reading()


class HttpProtocol(HttpToolsProtocol):
    """Before the handshake, and for everything that is not a WebSocket."""

    flow: HttpFlow
    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # the latest that came; uvicorn says it is there
    scope: Any  # of the latest request, None before the first

    def __init__(self, *args: Any, policy: ConnectionPolicy, **options: Any) -> None:
        super().__init__(*args, **options)
        self.policy = policy
        self.head = HeadMeter(policy.limits)
        self.fault: WireError | None = None  # what a callback of the parser found wrong
        self.handshake: Request | None = None  # the last request, where it opens a WebSocket
        self.unparsed = b""  # pipelined bytes, while a request before them waits for its turn
        self.last_act: Callable[[], None] | None = None  # that ends HTTP here, once all before it is answered
        self.deadline: asyncio.TimerHandle | None = None  # while the peer owes a head, or the rest of a body
        self.is_body_due = False  # a head is complete, and the end of its message has not come
        self.body_began_at = 0.0
        self.body_bytes = 0
        self.write_deadline: asyncio.TimerHandle | None = None  # while an unauthenticated peer has to read first
        self.network: str | None = None  # of the peer
        self.is_proxied = False  # the peer is a trusted proxy: each request may have another client
        self.is_scarce = False  # its descriptor is one of the last: probes only
        self.running: RequestResponseCycle | None = None  # what is answered now; `cycle` is the latest that came

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Let it in, or not; limit what the kernel takes, and for how long it keeps it."""
        super().connection_made(transport)
        self.flow = HttpFlow(transport)
        host = self.client[0] if self.client else None
        self.network = self.policy.addresses.peer_network(host)
        self.is_proxied = self.policy.addresses.is_proxy(host)
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(READ_SECONDS * 1000))
        reason = self._admit(plain.fileno())
        if reason is not None:
            self._log_refusal(reason, self.network)
            transport.write(answer(_refusal(reason), self.server_state.default_headers))
            transport.close()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is owed and nothing is counted any more."""
        self._leave()
        self._tell_application()
        super().connection_lost(exc)

    def give_way(self) -> None:
        """The node has as many connections as it may have, and this one has said nothing for a while."""
        self._log_refusal(Reason.TOTAL, self.network)
        if self.cycle is None:
            self.transport.write(answer(_refusal(Reason.TOTAL), self.server_state.default_headers))
        self.policy.table.leave(self)
        self.transport.close()

    def _admit(self, descriptor: int) -> Reason | None:
        table = self.policy.table
        self.is_scarce = descriptor >= table.limits.descriptors
        if descriptor >= table.limits.probe_descriptors:
            return Reason.DESCRIPTORS
        reason = table.enter(self, self.network)
        if reason is Reason.TOTAL:
            oldest = table.longest_waiting(self.loop.time())
            if isinstance(oldest, HttpProtocol):
                oldest.give_way()
                reason = table.enter(self, self.network)
        return reason

    def _leave(self) -> None:
        self._stop_deadline()
        self._stop_write_deadline()
        self.policy.table.leave(self)

    # -- what comes in -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse it piece by piece, and not beyond a request that has to wait for the one before it."""
        self._unset_keepalive_if_required()
        self.unparsed += data
        self._parse()

    def _parse(self) -> None:
        data, self.unparsed = self.unparsed, b""
        at = 0
        while self.last_act is None and at < len(data):
            if self.pipeline:
                break
            taken = self._feed(data[at : at + PIECE])
            if taken is None:
                return
            at += taken
        if self.last_act is None and at >= len(data):
            self._watch()
            return
        self.unparsed = data[at:]
        self._hold_or_finish()

    def _feed(self, piece: bytes) -> int | None:
        """Parse a piece. How much of it is done; None where nothing more may follow."""
        try:
            self.parser.feed_data(piece)
            self.head.fed(len(piece))
        except httptools.HttpParserUpgrade as upgrade:
            done: int = upgrade.args[0]
            if not self._should_upgrade():
                return None if self._feed_without_upgrade() is None else done
            self.last_act = self.handle_websocket_upgrade
            return done
        except httptools.HttpParserError as error:
            self.refuse(self.fault or rules.parser_fault(error))
            return None
        except WireError as error:
            self.refuse(error)
            return None
        return None if self.parser is None or self.transport.is_closing() else len(piece)

    def _feed_without_upgrade(self) -> int | None:
        """Read a head again without its upgrade, with which the parser would see no body and no further request."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        head = rules.head_lines(method, self.url, version, rules.without_upgrade(self.headers))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return self._feed(b"".join(head))

    def _hold_or_finish(self) -> None:
        """Read nothing more until what came before is answered, and then do the last thing."""
        if self.running is None and self.last_act is not None:
            last_act, self.last_act = self.last_act, None
            last_act()
        else:
            self.flow.pause_reading()
            self.flow.is_held = True

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        super().on_message_begin()
        self.head.begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._measured(self.head.add_url, len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which is measured and forgotten (RFC 9110, 6.5.1)."""
        self._measured(self.head.add_header, name.lower(), len(name) + len(value))
        if not self.head.is_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Credentials decide how the connection counts while this request is answered."""
        self.head.heard()
        self._measured(self._check_head)
        if self._is_upgrade_ignored():
            return
        self.head.is_complete = True
        self._stop_deadline()
        self.policy.table.begin_request(self)
        self._measured(self._check_descriptors)
        self._measured(self._count_request)
        self.is_body_due = True
        self.body_began_at, self.body_bytes = self.loop.time(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.head.heard()
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The peer owes nothing more of this request."""
        self.head.heard()
        if self._is_upgrade_ignored():
            return
        self.is_body_due = False
        self._stop_deadline()
        super().on_message_complete()

    def _measured(self, measure: Callable[..., None], *args: Any) -> None:
        """A callback's error reaches the caller of the parser as another one: keep ours."""
        try:
            measure(*args)
        except WireError as error:
            self.fault = error
            raise

    def _check_head(self) -> None:
        """Refuse what is not right, and make the address a path. Raises WireError."""
        method, version = self.parser.get_method().decode("ascii"), self.parser.get_http_version()
        rules.check_head(method, version, self.headers)
        if version == "1.0":  # RFC 9110, 10.1.1: it would not understand the answer
            self.expect_100_continue = False
        self.url, host = rules.origin_form(method, self.url)
        if host is not None:
            self.headers[:] = rules.with_host(self.headers, host, version)
        if self.parser.should_upgrade() and self._should_upgrade():
            self.handshake = rules.handshake(method, self.url, self.headers)

    def _is_upgrade_ignored(self) -> bool:
        """Whether the parser ends here though HTTP goes on."""
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _check_descriptors(self) -> None:
        """A node that has none to spare still says that it lives. Raises WireError 503."""
        if self.is_scarce and self.url.partition(b"?")[0] not in self.policy.probes:
            self._log_refusal(Reason.DESCRIPTORS, self.network)
            raise _refusal(Reason.DESCRIPTORS)

    def _count_request(self) -> None:
        """Count the connection to the client of this request, or not at all. Raises WireError 429, 503."""
        policy = self.policy
        authorization = next((value for name, value in self.headers if name == b"authorization"), None)
        if policy.accepts(None if authorization is None else authorization.decode("latin-1")):
            policy.table.leave(self)
            return
        network = self.network
        if self.is_proxied:
            network = policy.addresses.client_network(
                value for name, value in self.headers if name == b"x-forwarded-for"
            )
        reason = policy.table.enter(self, network)
        if reason is not None:
            self._log_refusal(reason, network)
            raise _refusal(reason)

    # -- deadlines -----------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with what was pipelined; or wait, but not for ever, for the rest of this request or for the next."""
        self.running = None
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_deadline(FLUSH_SECONDS, self.transport.abort)
            return
        if self.running is None and self.last_act is not None:
            self._hold_or_finish()
            return
        if self.running is None:
            self.policy.table.wait(self, self.loop.time())
        if self.is_body_due and self.running is None:
            self._unset_keepalive_if_required()
            self._set_deadline(self.policy.limits.rest_seconds, self.transport.abort)
        if self.flow.is_held and not self.pipeline:
            self.flow.is_held = False
            self.flow.resume_reading()
            self._parse()

    def timeout_keep_alive_handler(self) -> None:
        """No further request came. What is still unsent has a while to be read."""
        super().timeout_keep_alive_handler()
        self._set_deadline(FLUSH_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """The peer has to read first. The kernel gives up one that stops; this one may not take for ever either."""
        super().pause_writing()
        if self.policy.table.counts(self) and self.write_deadline is None:
            self.write_deadline = self.loop.call_later(FLUSH_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read enough."""
        self._stop_write_deadline()
        super().resume_writing()

    def _stop_write_deadline(self) -> None:
        if self.write_deadline is not None:
            self.write_deadline.cancel()
            self.write_deadline = None

    def _watch(self) -> None:
        """The peer may have left something unfinished."""
        if self.deadline is not None:
            return
        if self.is_body_due:
            self._set_deadline(self.policy.limits.body_seconds, self._on_body_late)
        elif self.running is None:
            self._await_head()

    def _await_head(self) -> None:
        limits = self.policy.limits
        self.policy.table.wait(self, self.loop.time())
        self._set_deadline(limits.scarce_seconds if self.is_scarce else limits.head_seconds, self._on_head_late)

    def _on_head_late(self) -> None:
        if self.cycle is None and self.scope is None:  # not a byte: browsers open sockets that they may never need
            self.transport.close()
            return
        self.refuse(WireError(408, "request_timeout", "The head of the request did not arrive in time."))

    def _on_body_late(self) -> None:
        limits, now = self.policy.limits, self.loop.time()
        due = self.body_began_at + limits.body_seconds + self.body_bytes / limits.body_rate
        if due > now:
            self._set_deadline(due - now, self._on_body_late)
        elif self.flow.read_paused:  # it is the application that does not read
            self._set_deadline(limits.body_seconds, self._on_body_late)
        else:
            self.refuse(WireError(408, "request_timeout", "The body of the request did not arrive in time."))

    def _set_deadline(self, seconds: float, late: Callable[[], None]) -> None:
        self._stop_deadline()
        self.deadline = self.loop.call_later(seconds, late)

    def _stop_deadline(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    # -- refusals ------------------------------------------------------------------------------------------------

    def refuse(self, error: WireError) -> None:
        """Answer with an error and read nothing more; but what came before gets its own answers first."""
        if self.is_body_due and self.pipeline:
            self.pipeline.popleft()  # the latest, whose body it is about
            self.is_body_due = False
        if self.is_body_due and self.running is self.cycle:
            self._refuse(error)
        else:
            self.unparsed = b""
            self.last_act = partial(self._refuse, error)
            self._hold_or_finish()

    def _refuse(self, error: WireError) -> None:
        """Unless there is an answer or a part of one."""
        count = self.policy.throttle.count(error.code, self.loop.time())
        if count:
            log.info("request_refused", status=error.status, code=error.code, count=count)
        is_answered = self.is_body_due if self.running is None else self.running.response_started
        transport, connections = self.transport, self.connections
        self._stop_deadline()
        self._unset_keepalive_if_required()
        self.flow.is_held = False
        self.flow.resume_reading()
        self._tell_application()
        super().connection_lost(ConnectionAbortedError(error.code))
        if is_answered or transport.is_closing():
            self._leave()
            transport.abort()
            return
        transport.write(answer(error, [*self.server_state.default_headers, *self._readable()]))
        if self.is_scarce:  # its descriptor is wanted at once
            transport.close()
            return
        RefusedConnection(transport, connections, self._leave)

    def _readable(self) -> list[tuple[bytes, bytes]]:
        origin = next((value.decode("latin-1") for name, value in self.headers or () if name == b"origin"), None)
        return [(name.encode(), value.encode("latin-1")) for name, value in self.policy.readable_by(origin).items()]

    def _tell_application(self) -> None:
        """The client has left. uvicorn tells only the latest request, which may not have begun."""
        self.pipeline.clear()
        self.last_act = None
        if self.running is not None:
            self.running.disconnected = True
            self.running.message_event.set()

    def _log_refusal(self, reason: Reason, network: str | None) -> None:
        count = self.policy.throttle.count(reason, self.loop.time())
        if count:
            log.warning("connection_refused", reason=reason, network=network, count=count, open=len(self.policy.table))

    # -- requests ------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Its turn has come."""
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    # -- the handshake -------------------------------------------------------------------------------------------

    def _should_upgrade(self) -> bool:
        """RFC 6455, 4.1: over HTTP/1.1 only. What is older is answered as a plain request."""
        return self.parser.get_http_version() == "1.1" and rules.asks_for_websocket(self.headers)

    def handle_websocket_upgrade(self) -> None:
        """Make room for the WebSocket, which is given what came after its handshake.

        uvicorn would write the handshake down for it to be read again, within other limits than ours. The parser is let
        go: the two hold each other, and would be there until the collector came by.
        """
        assert self.handshake is not None
        self._stop_deadline()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        successor = SlicedWebSocketProtocol(self.config, self.server_state, self.app_state)
        successor.connection_made(self.transport)
        self.policy.table.replace(self, successor)
        successor.table = self.policy.table
        successor.handle_connect(self.handshake)
        self.transport.set_protocol(successor)
        self.parser = None  # type: ignore[assignment]  # as uvicorn does when the connection is lost
        rest, self.unparsed = self.unparsed, b""
        self.flow.is_held = False
        self.flow.resume_reading()
        if rest:
            successor.data_received(rest)


def _refusal(reason: Reason) -> WireError:
    if reason is Reason.ADDRESS:
        message = "Too many connections from your address without credentials."
        return WireError(429, "rate_limit_exceeded", message, headers={"retry-after": "1"})
    return overloaded("This node has too many connections.")
