"""Who is calling, and from where: host, origin and credentials of a request, before anything else looks at it."""

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers

from server.protocol.errors import WireError, forbidden, invalid, unauthorized
from server.settings import BadSetting
from server.store.contracts import TicketStore
from server.store.types import Ticket
from server.web.errors import json_error

ANONYMOUS = "anonymous"  # the one caller of a node without keys
TICKET_SECONDS = 30
# Probes and scrapers come by whatever name the cluster gives a node, and read nothing that is anybody's.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class AccessRules:
    """What the settings say of callers, host names and origins. Decides, and does no I/O.

    Keys are compared by digest; none is kept in the clear, and none is ever logged.
    """

    def __init__(self, api_keys: Sequence[str], hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._callers = dict(_parse_key(entry) for entry in api_keys)
        self._hosts = ({_parse_host(host) for host in hosts} | {socket.gethostname().lower()}) - {""}
        self._any_host = "*" in hosts
        self._origins = {_parse_origin(origin) for origin in origins}

    @property
    def open(self) -> bool:
        """Whether everyone may call, since no keys are configured."""
        return not self._callers

    def caller(self, authorization: str | None) -> str:
        """The caller of an `Authorization: Bearer` header. Raises WireError 401."""
        if self.open:
            return ANONYMOUS
        caller = self._callers.get(_digest(_key(authorization)))
        if caller is None:
            raise unauthorized("Incorrect API key provided.")
        return caller

    def ticket(self, id: str, authorization: str | None) -> Ticket:
        """A ticket for the caller of this header, bound to its key. Raises WireError 401."""
        caller = self.caller(authorization)
        return Ticket(caller, _proof(id, "" if self.open else _digest(_key(authorization))))

    def is_current(self, id: str, ticket: Ticket) -> bool:
        """Whether the key that a ticket was made with is still one of its caller's.

        A node of a release before 0.3.0 left no proof: then the caller must have a key at least.
        """
        own = [digest for digest, caller in self._callers.items() if caller == ticket.caller]
        if not ticket.proof:
            return bool(own)
        return any(hmac.compare_digest(_proof(id, digest), ticket.proof) for digest in own)

    def check_host(self, host: str | None) -> None:
        """Refuse names that are not ours, so that no web page reaches a laptop by DNS rebinding. Raises WireError 403.

        Addresses pass: rebinding needs a name. Without any the error is 400 (RFC 9112, 3.2).
        """
        if host is None:
            raise invalid("The request has no Host header.")
        name = _hostname(host)
        if (
            self._any_host
            or name in self._hosts
            or name == "localhost"
            or name.endswith(".localhost")
            or _address(name)
        ):
            return
        raise forbidden("host_not_allowed", "This host name is not in ALLOWED_HOSTS.")

    def names_origin(self, origin: str) -> bool:
        """Whether this page is allowed by name. Our own pages need not be."""
        return origin.lower() in self._origins

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Browsers name the page that calls; it must be our own, or allowed by name. Raises WireError 403."""
        if origin is None or self.names_origin(origin):
            return
        if _authority(origin) != _bare(host or ""):
            raise forbidden("origin_not_allowed", "This origin is not in ALLOWED_ORIGINS.")


class Authenticator:
    """Checks requests against the rules, and tickets against the store."""

    def __init__(self, rules: AccessRules, tickets: TicketStore) -> None:
        self._rules = rules
        self._tickets = tickets

    def check_page(self, headers: Mapping[str, str]) -> None:
        """Host and origin. Raises WireError 403."""
        self._rules.check_host(headers.get("host"))
        self._rules.check_origin(headers.get("origin"), headers.get("host"))

    def http_caller(self, headers: Mapping[str, str]) -> str:
        """The caller of an HTTP request that passed `OriginMiddleware`. Raises WireError 401."""
        return self._rules.caller(headers.get("authorization"))

    @property
    def rules(self) -> AccessRules:
        """What the settings say of callers, hosts and origins."""
        return self._rules

    def accepts(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header lets its sender in; without keys, everyone is let in.

        The web server asks for each request before the application sees it, to tell strangers from callers.
        """
        try:
            self._rules.caller(authorization)
        except WireError:
            return False
        return True

    async def websocket_caller(self, headers: Mapping[str, str], ticket: str | None) -> str:
        """The caller of a handshake: a ticket counts where browsers cannot send headers.

        Raises WireError 401, 403; StoreError.
        """
        self.check_page(headers)
        if ticket is None or self._rules.open:
            return self._rules.caller(headers.get("authorization"))
        found = await self._tickets.take_ticket(ticket)
        if found is None:
            raise unauthorized("This ticket was used before, or expired.")
        if not self._rules.is_current(ticket, found):
            raise unauthorized("The API key that this ticket was made with is no longer valid.")
        return found.caller

    async def make_ticket(self, headers: Mapping[str, str]) -> dict[str, object]:
        """A single-use ticket that opens one WebSocket, as clients get it. Raises WireError 401, StoreError."""
        id = secrets.token_urlsafe(24)
        await self._tickets.put_ticket(id, self._rules.ticket(id, headers.get("authorization")), TICKET_SECONDS)
        return {"ticket": id, "expires_in": TICKET_SECONDS}


class OriginMiddleware:
    """The check that every HTTP request passes first: our own host, no foreign page.

    Plain ASGI around the application, for Starlette's own middleware copies streams; a WebSocket is checked in its
    handshake.
    """

    def __init__(self, app: App, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Refuse with 403, or pass on."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                self.authenticator.check_page(Headers(scope=scope))
            except WireError as error:
                await json_error(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _key(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise unauthorized("You did not provide an API key. Send it as 'Authorization: Bearer KEY'.")
    return key.strip()


def _proof(ticket: str, digest: str) -> str:
    """Binds a ticket to a key. Without the ticket, which no store keeps, it tells nothing of the key."""
    return hmac.new(ticket.encode(), digest.encode(), hashlib.sha256).hexdigest()


def _parse_key(entry: str) -> tuple[str, str]:
    name, colon, key = entry.partition(":")
    if not colon:
        name, key = f"key-{_digest(entry)[:12]}", entry
    if not name or not key:
        raise BadSetting("API_KEYS", "each entry is 'name:key', or a key alone")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadSetting("API_KEYS", "a key is made of ASCII letters, digits and signs, as headers carry nothing else")
    return _digest(key), name


def _parse_origin(entry: str) -> str:
    """As browsers send it: lower case, in ASCII, without the scheme's own port. Raises BadSetting."""
    try:
        parts = urlsplit(entry.strip())
        if parts.scheme not in {"http", "https"} or parts.path.strip("/") or not _is_bare(parts) or "*" in parts.netloc:
            raise ValueError(entry)
        host = _as_sent(parts.hostname or "")
        port = parts.port
    except ValueError:
        reason = f"'{entry}' is not an origin such as https://example.com or http://localhost:3000"
        raise BadSetting("ALLOWED_ORIGINS", reason) from None
    if port is None or port == {"http": 80, "https": 443}[parts.scheme]:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def _is_bare(parts: SplitResult) -> bool:
    return not (parts.query or parts.fragment or "@" in parts.netloc)


def _as_sent(host: str) -> str:
    """A host as browsers write it into headers: addresses in their short form, names in ASCII. Raises ValueError."""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    name = host.lower() if host.isascii() else host.encode("idna").decode()
    if not re.fullmatch(r"[a-z0-9_.-]+", name):
        raise ValueError(host)
    return name


def _parse_host(entry: str) -> str:
    """A name of `ALLOWED_HOSTS` as the `Host` header has it. Raises BadSetting for what no host can be called."""
    if re.search(r"[/@\s]", entry) or ("*" in entry and entry != "*"):
        raise BadSetting("ALLOWED_HOSTS", f"'{entry}' is not a host name such as chat.example.com")
    try:
        return _hostname(entry if entry.isascii() else entry.encode("idna").decode())
    except ValueError:
        raise BadSetting("ALLOWED_HOSTS", f"'{entry}' is not a host name such as chat.example.com") from None


def _digest(key: str) -> str:
    return hmac.new(b"throughline api key", key.encode(), hashlib.sha256).hexdigest()


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _authority(origin: str) -> str | None:
    """`host` or `host:port` of a web origin, as its `Host` header would say it."""
    try:
        parts = urlsplit(origin.lower())
        whole = f"{parts.scheme}://{parts.netloc}" == origin.lower()
        if not whole or parts.scheme not in {"http", "https"} or "@" in parts.netloc:
            return None
    except ValueError:
        return None
    return _bare(parts.netloc, parts.scheme)


def _bare(host: str, scheme: str = "") -> str:
    """Lower case, without the port that the scheme implies."""
    host = host.lower()
    ends = {"http": (":80",), "https": (":443",)}.get(scheme, (":80", ":443"))
    return next((host.removesuffix(end) for end in ends if host.endswith(end)), host)
