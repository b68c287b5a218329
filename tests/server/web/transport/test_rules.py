"""What a request's head must be: every case that is refused, and what of it is told."""

import httptools
import pytest

from server.protocol.errors import WireError
from server.web.transport import rules

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")

TARGETS = [
    ("GET", b"/v1/models?a=b", b"/v1/models?a=b", None),
    ("OPTIONS", b"*", b"/", None),
    ("GET", b"http://a.example/v1/models?a", b"/v1/models?a", b"a.example"),
    ("GET", b"HTTPS://a.example:8443", b"/", b"a.example:8443"),
    ("GET", b"http://[::1]:80?a=b", b"/?a=b", b"[::1]:80"),
]


@pytest.mark.parametrize(("method", "target", "path", "host"), TARGETS)
def test_a_target_in_each_of_its_forms(method: str, target: bytes, path: bytes, host: bytes | None) -> None:
    assert rules.origin_form(method, target) == (path, host)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (b"*", "OPTIONS"),
        (b"ws://a/v1/responses", "scheme is 'ws'"),
        (b"http://", "host"),
        (b"http://user@a/", "host"),
        (b"http://a:99999/", "host"),
        (b"http://[::1/", "host"),
        (b"a:443", "path"),
    ],
)
def test_a_target_that_means_nothing(target: bytes, named: str) -> None:
    with pytest.raises(WireError) as caught:
        rules.origin_form("GET", target)
    assert caught.value.status == 400
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("method", "version", "headers", "status", "named"),
    [
        ("GET", "0.9", [], 400, "version"),
        ("GET", "2.0", [], 505, "HTTP/1.1"),
        ("CONNECT", "1.1", [], 405, "CONNECT"),
        ("POST", "1.0", [(b"transfer-encoding", b"chunked")], 400, "Transfer-Encoding"),
        ("POST", "1.1", [(b"transfer-encoding", b"gzip, chunked")], 501, "gzip"),
        ("POST", "1.1", [(b"transfer-encoding", b"gzip")], 501, "gzip"),
        ("POST", "1.1", [(b"expect", b"200-ok")], 417, "200-ok"),
        ("POST", "1.1", [(b"expect", b"100-continue"), (b"expect", b"more")], 417, "more"),
    ],
)
def test_a_head_that_is_refused(
    method: str, version: str, headers: list[tuple[bytes, bytes]], status: int, named: str
) -> None:
    with pytest.raises(WireError) as caught:
        rules.check_head(method, version, headers)
    assert caught.value.status == status
    assert named in caught.value.message


def test_a_head_that_is_right() -> None:
    rules.check_head("POST", "1.1", [(b"transfer-encoding", b"Chunked"), (b"expect", b"100-Continue")])


def test_the_host_of_the_target_counts_more_than_the_header() -> None:
    assert rules.with_host([(b"a", b"b"), (b"host", b"x")], b"y", "1.1") == [(b"host", b"y"), (b"a", b"b")]
    assert rules.with_host([], b"y", "1.1") == []
    assert rules.with_host([], b"y", "1.0") == [(b"host", b"y")]


@pytest.mark.parametrize(
    ("connection", "upgrade", "asks"),
    [
        (b"Upgrade", b"websocket", True),
        (b"keep-alive, UPGRADE", b"WebSocket", True),
        (b"keep-alive", b"websocket", False),
        (b"upgrade", b"h2c", False),
        (b"upgrade", b"websocket, h2c", False),
        (b"upgraded", b"websocket", False),
    ],
)
def test_what_asks_for_a_websocket(connection: bytes, upgrade: bytes, asks: bool) -> None:
    assert rules.asks_for_websocket([(b"connection", connection), (b"upgrade", upgrade)]) is asks


def test_tokens_of_several_headers_are_one_list() -> None:
    headers = [(b"connection", b"keep-alive"), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
    assert rules.asks_for_websocket(headers)
    assert rules.without_upgrade(headers) == [(b"connection", b"keep-alive")]


REFUSED = [
    ("POST", [KEY, VERSION], 405, "GET"),
    ("GET", [KEY, VERSION, (b"content-length", b"5")], 400, "body"),
    ("GET", [KEY, VERSION, (b"transfer-encoding", b"chunked")], 400, "body"),
    ("GET", [VERSION], 400, "Sec-WebSocket-Key"),
    ("GET", [KEY, KEY, VERSION], 400, "Sec-WebSocket-Key"),
    ("GET", [(KEY[0], b"!"), VERSION], 400, "Sec-WebSocket-Key"),
    ("GET", [(KEY[0], b"\xe9" * 24), VERSION], 400, "Sec-WebSocket-Key"),
    ("GET", [(KEY[0], b"AAAA"), VERSION], 400, "3 bytes"),
    ("GET", [KEY], 400, "Sec-WebSocket-Version"),
    ("GET", [KEY, VERSION, VERSION], 400, "Sec-WebSocket-Version"),
    ("GET", [KEY, (VERSION[0], b"8")], 426, "Sec-WebSocket-Version"),
    ("GET", [KEY, (VERSION[0], b"")], 426, "Sec-WebSocket-Version"),
    ("GET", [KEY, VERSION, (b"origin", b"a"), (b"origin", b"b")], 400, "Origin"),
    ("GET", [KEY, VERSION, (b"sec-websocket-extensions", b"a;;b")], 400, "Sec-WebSocket-Extensions"),
    ("GET", [KEY, VERSION, (b"sec-websocket-protocol", b"a b, (c)")], 400, "Sec-WebSocket-Protocol"),
]


@pytest.mark.parametrize(("method", "headers", "status", "named"), REFUSED)
def test_a_handshake_that_is_refused(method: str, headers: list[tuple[bytes, bytes]], status: int, named: str) -> None:
    with pytest.raises(WireError) as caught:
        rules.handshake(method, b"/v1/responses", headers)
    assert caught.value.status == status
    assert named in caught.value.message
    if VERSION[0].decode() in caught.value.message.lower():
        assert caught.value.headers["sec-websocket-version"] == "13"


def test_a_handshake_within_our_limits_is_within_those_of_the_library() -> None:
    offer = b"permessage-deflate; client_max_window_bits=99, " * 200 + b"x"
    headers = [KEY, VERSION, (b"sec-websocket-extensions", offer), (b"x", b"\xe9"), (b"content-length", b"0")]
    found = rules.handshake("GET", b"/v1/responses?a", headers)
    assert found.path == "/v1/responses?a"
    assert found.headers["sec-websocket-extensions"] == offer.decode()


def test_what_the_parser_finds_is_named() -> None:
    assert rules.parser_fault(httptools.HttpParserError("Invalid header token")).message.endswith(
        "Invalid header token."
    )
    assert "method" in rules.parser_fault(httptools.HttpParserInvalidMethodError("Invalid method")).message
    assert "target" in rules.parser_fault(httptools.HttpParserInvalidURLError("Bad")).message
    assert rules.parser_fault(httptools.HttpParserError("Invalid HTTP version")).status == 505
