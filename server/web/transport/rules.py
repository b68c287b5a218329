"""What HTTP and RFC 6455 ask of a request's head beyond what the parser looks at. Pure: a head in, or WireError out."""

import base64
import binascii
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import httptools
from websockets.exceptions import InvalidHandshake
from websockets.headers import parse_extension, parse_subprotocol
from websockets.http11 import Request

from server.protocol.errors import WireError, invalid

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case

WEBSOCKET_VERSION = "13"
METHODS = "DELETE, GET, HEAD, OPTIONS, POST"  # of all paths together
WRONG_VERSIONS = ("Invalid HTTP version", "Pause on PRI/Upgrade")  # as the parser calls them
ABSOLUTE = re.compile(rb"([a-z][a-z0-9+.-]*)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
PORTED = re.compile(rb"(\[[0-9a-f:.]+\]|[^:@\[\]]+)(?::(\d{0,5}))?", re.IGNORECASE)


def values(headers: Headers, name: bytes) -> list[str]:
    """Each header of this name."""
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


def tokens(headers: Headers, name: bytes) -> list[str]:
    """What lists of this name say together, in lower case."""
    return [part.strip().lower() for value in values(headers, name) for part in value.split(",") if part.strip()]


def asks_for_websocket(headers: Headers) -> bool:
    """Whether it is a handshake, right or wrong. Other upgrades are ignored (RFC 9110, 7.8)."""
    return "upgrade" in tokens(headers, b"connection") and tokens(headers, b"upgrade") == ["websocket"]


def without_upgrade(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers without the wish for another protocol."""
    kept = [part for part in tokens(headers, b"connection") if part not in ("upgrade", "http2-settings")]
    left = [(name, value) for name, value in headers if name not in (b"connection", b"upgrade", b"http2-settings")]
    return [*left, (b"connection", ", ".join(kept).encode("latin-1"))] if kept else left


def head_lines(method: bytes, target: bytes, version: bytes, headers: Headers) -> Iterator[bytes]:
    """A head as it is written."""
    yield method + b" " + target + b" HTTP/" + version + b"\r\n"
    yield from (name + b": " + value + b"\r\n" for name, value in headers)
    yield b"\r\n"


# -- faults that the parser found ------------------------------------------------------------------------------------


def parser_fault(error: Exception) -> WireError:
    """What is wrong with bytes that are no HTTP/1.1, in the parser's words."""
    reason = str(error)
    if reason in WRONG_VERSIONS:
        return _wrong_version()
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        reason = "the method is none that HTTP has"
    elif isinstance(error, httptools.HttpParserInvalidURLError):
        reason = f"the request target is wrong: {reason}"
    return invalid(f"This is not a valid HTTP/1.1 request: {reason}.")


def _wrong_version() -> WireError:
    return WireError(505, "http_version_not_supported", "This server speaks HTTP/1.1 and HTTP/1.0.")


# -- any request -----------------------------------------------------------------------------------------------------


def check_head(method: str, version: str, headers: Headers) -> None:
    """Refuse what would be read in two ways, or cannot be done. Raises WireError 400, 405, 417, 501, 505."""
    if version == "0.9":
        raise invalid("The request line names no version of HTTP from 1.0 on.")
    if version not in ("1.0", "1.1"):
        raise _wrong_version()
    if method == "CONNECT":
        raise WireError(
            405, "method_not_allowed", f"CONNECT: this is no proxy; it has {METHODS}.", headers={"allow": METHODS}
        )
    codings = tokens(headers, b"transfer-encoding")
    if codings and version == "1.0":  # RFC 9112, 6.1
        raise invalid("Transfer-Encoding is not part of HTTP/1.0.")
    if codings not in ([], ["chunked"]):
        message = f"Transfer-Encoding: only 'chunked' is known here, not '{', '.join(codings)}'."
        raise WireError(501, "unsupported_transfer_encoding", message)
    expected = [value for value in tokens(headers, b"expect") if value != "100-continue"]
    if expected:
        raise WireError(417, "expectation_failed", f"Expect: only '100-continue' is known here, not '{expected[0]}'.")


def origin_form(method: str, target: bytes) -> tuple[bytes, bytes | None]:
    """Path and query that a request target means, and the host of one that names it (RFC 9112, 3.2).

    `OPTIONS *` asks about the server as a whole, which is what its root says. Raises WireError 400.
    """
    if target == b"*":
        if method != "OPTIONS":
            raise invalid("The request target '*' is for OPTIONS alone; it has to be a path.")
        return b"/", None
    if target.startswith(b"/"):
        return target, None
    absolute = ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise invalid("The request target is neither a path nor an absolute address.")
    scheme, host, path = absolute.groups()
    if scheme.lower() not in (b"http", b"https"):
        raise invalid(f"The request target's scheme is '{scheme.decode('latin-1')}'; it has to be http or https.")
    if not _is_host(host):
        raise invalid("The request target's host is no host name or address with an optional port.")
    return (path if path.startswith(b"/") else b"/" + path), host


def _is_host(authority: bytes) -> bool:
    found = PORTED.fullmatch(authority)
    return found is not None and int(found[2] or 0) < 1 << 16


def with_host(headers: Headers, host: bytes, version: str) -> list[tuple[bytes, bytes]]:
    """The headers with the target's host, which counts more than theirs (RFC 9112, 3.2.2). HTTP/1.1 must have both."""
    if version == "1.1" and not values(headers, b"host"):
        return list(headers)
    return [(b"host", host), *((name, value) for name, value in headers if name != b"host")]


# -- a handshake -----------------------------------------------------------------------------------------------------


def handshake(method: str, target: bytes, headers: Headers) -> Request:
    """What the WebSocket library begins with, once nothing is left that it would refuse (RFC 6455, 4.2.1).

    Raises WireError 400, 405, 426.
    """
    if method != "GET":
        message = f"A WebSocket is opened with GET, not with {method}."
        raise WireError(405, "method_not_allowed", message, headers={"allow": "GET"})
    if values(headers, b"transfer-encoding") or any(int(size) for size in values(headers, b"content-length")):
        raise invalid("A WebSocket handshake has no body.")
    _check_key(values(headers, b"sec-websocket-key"))
    _check_version(values(headers, b"sec-websocket-version"))
    if len(values(headers, b"origin")) > 1:
        raise invalid("There is more than one Origin header.")
    _check_list(headers, b"sec-websocket-extensions", "Sec-WebSocket-Extensions", parse_extension)
    _check_list(headers, b"sec-websocket-protocol", "Sec-WebSocket-Protocol", parse_subprotocol)
    # Those that the two sides of HTTP need, and that were looked at: the library is stricter about how they are put.
    said = [(name, value) for name, value in headers if name not in (b"content-length", b"connection", b"upgrade")]
    said += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    try:
        return _parsed(head_lines(b"GET", target, b"1.1", said))
    except (ValueError, EOFError) as error:
        raise invalid(f"This is not a valid WebSocket handshake: {error}.") from error


def _check_key(keys: Sequence[str]) -> None:
    name = "Sec-WebSocket-Key"
    if len(keys) != 1:
        raise invalid(f"There is more than one {name} header." if keys else f"The handshake has no {name} header.")
    try:
        size = len(base64.b64decode(keys[0].encode(), validate=True))
    except (binascii.Error, ValueError):
        raise invalid(f"{name}: it is not base64.") from None
    if size != 16:
        raise invalid(f"{name}: it stands for {size} bytes, and has to stand for 16.")


def _check_version(versions: Sequence[str]) -> None:
    name = "Sec-WebSocket-Version"
    known = {name.lower(): WEBSOCKET_VERSION}
    if len(versions) != 1:
        message = f"There is more than one {name} header." if versions else f"The handshake has no {name} header."
        raise WireError(400, "invalid_request_error", message, headers=known)
    if versions[0] != WEBSOCKET_VERSION:
        message = f"{name}: this server speaks version {WEBSOCKET_VERSION}, not '{versions[0]}'."
        raise WireError(
            426, "upgrade_required", message, headers=known | {"upgrade": "websocket", "connection": "upgrade"}
        )


def _check_list(headers: Headers, name: bytes, shown: str, parse: Any) -> None:
    for value in values(headers, name):
        try:
            parse(value)
        except InvalidHandshake as error:
            raise invalid(f"{shown}: {error}.") from error


def _parsed(lines: Iterable[bytes]) -> Request:
    """As the library reads it, but without its limits of a line: ours were met already. Raises ValueError, EOFError."""
    left = iter(lines)

    def read_line(limit: int) -> Generator[None, None, bytes]:
        yield from ()
        return next(left)

    parsing = Request.parse(read_line)
    while True:
        try:
            next(parsing)
        except StopIteration as done:
            request: Request = done.value
            return request
