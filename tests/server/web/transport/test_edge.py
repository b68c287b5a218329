"""Every refusal of a request or handshake has a body that names what is wrong, and takes no other answer with it."""

import orjson
import pytest

from engine.scripted import ScriptedEngine
from tests.server.conftest import Nodes
from tests.server.raw import HANDSHAKE, frame
from tests.server.web.transport.stranger import HOST, MODELS, POST, Peer, peer
from tests.serving import Served

HELLO = b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + b"\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def changed(old: bytes, new: bytes) -> bytes:
    assert old in HELLO
    return HELLO.replace(old, new)


def head(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([line, HOST[:-2], *headers, b"", b""])


REFUSED = [
    (changed(KEY, b""), 400, "Sec-WebSocket-Key"),
    (changed(KEY, KEY * 2), 400, "Sec-WebSocket-Key"),
    (changed(KEY, b"Sec-WebSocket-Key: short\r\n"), 400, "Sec-WebSocket-Key"),
    (changed(b"Version: 13", b"Version: 12"), 426, "Sec-WebSocket-Version"),
    (changed(b"GET", b"POST"), 405, "GET"),
    (changed(KEY, KEY + b"Content-Length: 5\r\n") + b"hello", 400, "body"),
    (changed(KEY, KEY + b"Sec-WebSocket-Extensions: " + b"x; y; " * 200 + b"\r\n"), 400, "Sec-WebSocket-Extensions"),
    (changed(KEY, KEY + b"Sec-WebSocket-Protocol: ;;\r\n"), 400, "Sec-WebSocket-Protocol"),
    (changed(b"/v1/responses", b"*"), 400, "'*'"),
    (changed(b"/v1/responses", b"ftp://127.0.0.1/v1/responses"), 400, "ftp"),
    (changed(b"/v1/responses", b"http://evil.example/v1/responses"), 403, "ALLOWED_HOSTS"),
    (changed(b"Upgrade: websocket", b"Upgrade: websocket, h2c"), 426, "WebSocket"),
    (changed(b"Connection: Upgrade", b"Connection: close"), 426, "WebSocket"),
    (changed(b"HTTP/1.1", b"HTTP/1.0"), 426, "WebSocket"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1"),
    (head(b"GET /v1/models HTTP/2.0"), 505, "HTTP/1.1"),
    (head(b"GET /v1/models HTTP/1.7"), 505, "HTTP/1.1"),
    (head(b"CONNECT 127.0.0.1:443 HTTP/1.1"), 405, "CONNECT"),
    (head(b"GET * HTTP/1.1"), 400, "'*'"),
    (head(b"GET http://127.0.0.1:99999/v1/models HTTP/1.1"), 400, "host"),
    (head(b"GET http://evil.example/v1/models HTTP/1.1"), 403, "ALLOWED_HOSTS"),
    (head(b"BREW /v1/models HTTP/1.1"), 400, "method"),
    (head(b"GET v1/models HTTP/1.1"), 400, "target"),
    (head(b"GET /v1/models HTTP/1.1", b"Expect: a miracle"), 417, "a miracle"),
    (head(b"POST /v1/responses HTTP/1.1", b"Transfer-Encoding: gzip"), 501, "gzip"),
    (head(b"POST /v1/responses HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), 501, "gzip"),
    (head(b"POST /v1/responses HTTP/1.1", b"Transfer-Encoding: chunked", b"Content-Length: 3"), 400, "Content-Length"),
    (head(b"POST /v1/responses HTTP/1.1", b"Content-Length: -1"), 400, "Content-Length"),
    (head(b"GET /v1/models HTTP/1.1", b"X: a", b" b"), 400, "whitespace"),
    (head(b"GET /v1/models HTTP/1.1", b"X : a"), 400, "header token"),
    (head(b"GET /v1/models HTTP/1.1", b"X: a\0b"), 400, "header value"),
    (CHUNKED + b"x\r\n", 400, "chunk size"),
    (CHUNKED + b"3\r\nabcdef\r\n", 400, "chunk"),
]


async def refusal(each: Peer) -> tuple[int, bytes, str]:
    """Status, head and message of an error, which is the last that comes."""
    answer = await each.reader.readuntil(b"\r\n\r\n")
    said = await each.reader.read()
    assert b"content-length: %d\r\n" % len(said) in answer.lower() or not said
    return int(answer.split()[1]), answer.lower(), orjson.loads(said)["error"]["message"]


@pytest.mark.parametrize(("said", "status", "named"), REFUSED, ids=lambda part: str(part)[:60])
async def test_what_is_refused_is_told_why(served: Served, said: bytes, status: int, named: str) -> None:
    async with peer(served, said) as each:
        if status == 426 and b"Version: 12" not in said:
            plain, body = await each.answer()  # a request: its connection may go on
            assert (plain, orjson.loads(body)["error"]["code"]) == (426, "upgrade_required")
            return
        found, answer, message = await refusal(each)
    assert found == status
    assert named in message
    assert (b"\r\nallow: " in answer) is (status == 405)
    if status == 426:
        assert b"\r\nsec-websocket-version: 13\r\n" in answer
        assert b"\r\nupgrade: websocket\r\n" in answer
        assert b"\r\nconnection: close, upgrade\r\n" in answer


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://127.0.0.1/v1/models HTTP/1.1", 200),
        (b"GET https://localhost:8443/v1/models?x=y HTTP/1.1", 200),
        (b"GET http://127.0.0.1/v1/models#part HTTP/1.1", 200),
        (b"OPTIONS * HTTP/1.1", 204),
    ],
)
async def test_a_target_need_not_be_a_path(served: Served, line: bytes, status: int) -> None:
    async with peer(served, head(line)) as each:
        assert (await each.answer())[0] == status


@pytest.mark.parametrize(
    "said",
    [
        changed(b"/v1/responses", b"http://127.0.0.1/v1/responses"),
        changed(b"Host: 127.0.0.1", b"Host: other.example").replace(b"/v1", b"http://127.0.0.1/v1"),
        changed(KEY, KEY + b"Content-Length: 0\r\n"),
        changed(KEY, KEY + b"Cookie: " + b"x" * 10_000 + b"\r\n"),
        changed(KEY, KEY + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n"),
        changed(b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: Upgrade"),
    ],
    ids=["absolute", "absolute with another host", "an empty body", "a long cookie", "deflate", "two lists"],
)
async def test_what_is_unusual_is_no_reason_to_refuse(served: Served, said: bytes) -> None:
    async with peer(served, said) as each:
        assert (await each.answer())[0] == 101


async def test_an_upgrade_waits_for_the_answers_before_it(served: Served) -> None:
    async with peer(served, MODELS * 100 + HELLO) as each:
        for _ in range(100):
            assert (await each.answer())[0] == 200
        assert (await each.answer())[0] == 101
        await each.write(frame(9, b"here"))
        assert await each.reader.readexactly(6) == b"\x8a\x04here"


async def test_a_refusal_waits_for_the_answers_before_it(served: Served) -> None:
    for last in (b"NONSENSE\r\n\r\n", changed(KEY, b""), CHUNKED + b"x\r\n", head(b"GET / HTTP/1.1", b"Expect: x")):
        async with peer(served, MODELS * 100 + last + MODELS) as each:
            for _ in range(100):
                assert (await each.answer())[0] == 200
            assert (await refusal(each))[0] in (400, 417)


async def test_frames_behind_a_handshake_wait_for_its_answer(served: Served) -> None:
    """The whole of them, though they came with it: half a frame would make nonsense of the next one."""
    async with peer(served, HELLO + frame(9, b"a") * 40) as each:
        assert (await each.answer())[0] == 101
        assert await each.reader.readexactly(120) == b"\x8a\x01a" * 40
    async with peer(served, HELLO + frame(8, b"\x03\xe8")) as each:
        assert (await each.answer())[0] == 101
        assert await each.reader.readexactly(4) == b"\x88\x02\x03\xe8"
    async with peer(served, HELLO + HELLO) as each:
        assert (await each.answer())[0] == 101
        assert (await each.reader.readexactly(4))[0] == 0x88  # what follows are no frames


async def test_another_upgrade_takes_neither_a_body_nor_the_next_request(nodes: Nodes) -> None:
    """Java's client asks for h2c with the first request of each connection."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    body = orjson.dumps({"input": "[tokens=2]"})
    said = POST + upgrade + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with nodes(ScriptedEngine()) as served, peer(served, said + MODELS[:-2] + upgrade + b"\r\n" + MODELS) as each:
        status, answer = await each.answer()
        assert (status, orjson.loads(answer)["status"]) == (200, "completed")
        assert (await each.answer())[0] == 200
        assert (await each.answer())[0] == 200
