"""Bytes that no good client sends: the right code or status, little memory, quiet logs, and a server that lives on."""

import asyncio
import fcntl
import gc
import logging
import struct
import sys
import termios
from collections.abc import Mapping, Sequence

import orjson
import pytest
from starlette.websockets import WebSocket
from websockets.http11 import Request, Response

from engine.scripted import ScriptedEngine
from server.web.transport import protocols as transport
from server.web.transport.http_protocol import HttpProtocol
from server.web.websocket import SocketLimits
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, Event, socket
from tests.server.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    fragments,
    frame,
    raw,
    text,
)
from tests.server.scenarios.test_slow_readers import SMALL, narrow, resident, unsent
from tests.serving import Served
from tests.waiting import until

ASK = orjson.dumps({"type": "response.create", "input": "é [tokens=2]"})
LIMIT = 4096
BAD_UTF8 = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b'{"type":"\xfe"}')

VIOLATIONS: list[tuple[str, int, list[bytes]]] = [
    *((f"opcode {n}", 1002, [frame(n, b"x")]) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *((f"reserved bits {n}", 1002, [frame(TEXT, b"{}", reserved=n)]) for n in (1, 2, 4, 7)),
    *((f"bad UTF-8 {bad!r}", 1007, [frame(TEXT, bad)]) for bad in BAD_UTF8),
    *((f"control frame {n} of 126 bytes", 1002, [frame(n, b"x" * 126)]) for n in (CLOSE, PING, PONG)),
    *((f"control frame {n} in pieces", 1002, [frame(n, b"", fin=False)]) for n in (CLOSE, PING, PONG)),
    *((f"close code {n}", 1002, [frame(CLOSE, struct.pack("!H", n))]) for n in (0, 999, 1004, 1005, 1006, 1015, 5000)),
    ("no mask", 1002, [frame(TEXT, b"{}", mask=b"")]),
    ("a close of one byte", 1002, [frame(CLOSE, b"x")]),
    ("a close with bad UTF-8", 1007, [frame(CLOSE, b"\x03\xe8\xff")]),
    ("a piece of nothing", 1002, [frame(CONTINUATION, b"{}")]),
    ("a message in a message", 1002, [frame(TEXT, b"{", fin=False), frame(TEXT, b"}")]),
    ("bad UTF-8 in pieces", 1007, [frame(TEXT, b'"\xe2\x82', fin=False), frame(CONTINUATION, b'x"')]),
    ("a length of 2^64", 1009, [b"\x81\xff" + b"\xff" * 8]),
    ("a length of 1 TiB", 1009, [b"\x81\xff" + struct.pack("!Q", 1 << 40)]),
    ("too many pieces", 1009, [frame(TEXT, b" " * LIMIT, fin=False), frame(CONTINUATION, b" ", fin=False)]),
]


async def test_what_breaks_the_standard_is_closed_with_its_code(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """RFC 6455, 5 and 7.4.1. A neighbour sees nothing of it, and no traceback reaches the log."""
    async with nodes(max_message_bytes=LIMIT) as served, socket(served) as neighbour:
        for name, code, frames in VIOLATIONS:
            async with raw(served) as peer:
                await peer.write(*frames)
                assert await peer.closed() == code, name
        assert (await neighbour.answer("[tokens=2]"))["status"] == "completed"
        await until(lambda: len(served.running.sockets.sockets) == 1, "only the neighbour is left")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capsys.readouterr().out


ALLOWED: list[tuple[str, Sequence[bytes]]] = [
    ("one frame", [frame(TEXT, ASK)]),
    ("a character in two pieces", [*fragments(ASK, ASK.index("é".encode()) + 1)]),
    ("pieces of one byte", [*fragments(ASK, 1)]),
    ("an empty first piece", [frame(TEXT, b"", fin=False), frame(CONTINUATION, ASK)]),
    ("an empty last piece", [frame(TEXT, ASK, fin=False), frame(CONTINUATION, b"")]),
    ("a pong that nobody asked for", [frame(PONG, b"?"), frame(TEXT, ASK)]),
]


async def test_what_keeps_the_standard_is_understood(served: Served) -> None:
    async with raw(served) as peer:
        for name, frames in ALLOWED:
            await peer.write(*frames)
            while (event := await peer.event())["type"] != "response.completed":
                assert event["type"] != "error", name


async def test_pings_are_answered_between_the_pieces_of_a_message(served: Served) -> None:
    first, *rest = fragments(ASK, 10)
    async with raw(served) as peer:
        await peer.write(first, frame(PING, b"x" * 125))
        assert await peer.frame() == (PONG, b"x" * 125)
        await peer.write(*rest)
        assert (await peer.event())["type"] == "response.created"


async def test_a_goodbye_is_answered_with_its_code(served: Served) -> None:
    for payload in (b"\x03\xe8", b"\x03\xe9going", b"\x0f\xa0", b""):
        async with raw(served) as peer:
            await peer.write(frame(CLOSE, payload))
            opcode, answer = await peer.frame()
            assert (opcode, answer[:2]) == (CLOSE, payload[:2])


@pytest.mark.parametrize("size", [64, LIMIT])
async def test_the_size_limit_is_exact_in_one_frame_and_in_pieces(nodes: Nodes, size: int) -> None:
    async with nodes(max_message_bytes=LIMIT) as served:
        for length in (LIMIT - 1, LIMIT):
            async with raw(served) as peer:
                await peer.write(*fragments(ASK.ljust(length), size))
                assert (await peer.event())["type"] == "response.created"
        async with raw(served) as peer:
            await peer.write(*fragments(ASK.ljust(LIMIT + 1), size))
            assert await peer.closed() == 1009
        async with raw(served) as peer:
            await peer.write(frame(BINARY, b"x" * (LIMIT + 1)))
            assert await peer.closed() == 1009


async def test_a_message_that_never_ends_takes_no_more_than_its_bytes(served: Served) -> None:
    """300,000 pieces with a byte and as many without: as objects they would be 20 MB."""
    piece, nothing = frame(CONTINUATION, b" ", fin=False), frame(CONTINUATION, b"", fin=False)
    async with raw(served) as peer:
        await peer.write(frame(TEXT, b"{", fin=False), piece)
        before = resident()
        for _ in range(300):
            await peer.write((piece + nothing) * 1000)
        await peer.write(frame(PING, b"all read"))
        assert await peer.frame() == (PONG, b"all read")
        assert resident() - before < 8 * 1024 * 1024
        assert (protocol(served).frames, len(protocol(served).pieces)) == ([], 300_002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_whose_end_does_not_come_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch, opcode: int
) -> None:
    """However much the client says besides; one whose end comes in time is not touched."""
    monkeypatch.setattr(transport, "MESSAGE_SECONDS", 0.3)
    first, *others = fragments(ASK, 10)
    async with raw(served) as peer:
        await peer.write(first, *others)
        while (await peer.event())["type"] != "response.completed":
            pass
        timer = protocol(served).message_timer
        assert timer is not None
        assert timer.cancelled()
        await peer.write(frame(opcode, b"{", fin=False), frame(CONTINUATION, b" ", fin=False), frame(PING, b"here"))
        assert await peer.frame() == (PONG, b"here")
        assert await peer.closed() == 1008
    await until(lambda: not served.running.sockets.sockets, "nothing is kept")


def protocol(served: Served) -> transport.WebSocketProtocol:
    """The server's end of the only connection."""
    (only,) = served.server.server_state.connections
    assert isinstance(only, transport.WebSocketProtocol)
    return only


async def test_pings_of_a_client_that_reads_nothing_do_not_pile_up(served: Served) -> None:
    narrow(served)
    async with raw(served, buffer=SMALL) as peer:
        for number in range(100):
            await peer.write(frame(PING, f"{number:0125}".encode()) * 1000)
            assert unsent(served) < 256 * 1024
        pongs = [b""]
        while pongs[-1] != b"%0125d" % 99:
            pongs.append((await peer.frame())[1])
        assert len(pongs) < 50_000


@pytest.mark.usefixtures("unmerged")
async def test_the_kernel_takes_little_for_a_reader_that_stopped(nodes: Nodes) -> None:
    """It would take megabytes: its buffer grows while a reader is quick."""
    async with nodes(ScriptedEngine(rate=0)) as served, raw(served, buffer=SMALL) as peer:
        await peer.say("response.create", input="[tokens=9000]", max_output_tokens=10_000)
        await until(lambda: unsent(served) > 32 * 1024, "much waits")
        taken = bytearray(4)
        fcntl.ioctl(protocol(served).transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, taken)
        assert 0 < int.from_bytes(taken, sys.byteorder) < 256 * 1024


@pytest.mark.usefixtures("unmerged")
async def test_a_goodbye_comes_behind_what_was_not_read_yet(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=0)) as served:
        narrow(served)
        served.running.sockets.limits = SocketLimits(send=0.2, tick=0.05)
        async with raw(served, buffer=SMALL) as peer:
            await peer.say("response.create", input="[tokens=9000]", max_output_tokens=10_000)
            await until(lambda: not served.running.sockets.sockets, "it was given up")
            assert await peer.closed() == 1013


@pytest.mark.usefixtures("unmerged")
@pytest.mark.parametrize(("limits", "ping"), [(SocketLimits(send=0.2, tick=0.05), 20.0), (SocketLimits(), 0.2)])
async def test_a_closed_connection_that_nobody_reads_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch, limits: SocketLimits, ping: float
) -> None:
    """Whoever closed it: the application, or the web server for want of a pong."""
    monkeypatch.setattr(transport, "LINGER_SECONDS", 0.2)
    narrow(served)
    served.running.sockets.limits = limits
    served.server.config.ws_ping_interval = served.server.config.ws_ping_timeout = ping
    async with raw(served, buffer=SMALL) as peer:
        await peer.say("response.create", input="[tokens=9000]", max_output_tokens=10_000)
        await until(lambda: unsent(served) > 32 * 1024, "much waits")
        await until(lambda: not served.server.server_state.connections, "nothing is kept")


async def test_an_open_socket_keeps_nothing_of_its_handshake(served: Served) -> None:
    """Without waiting for the collector. Nor has it a dictionary for fields: one is there if uvicorn has a new one."""
    gc.collect()
    gc.disable()
    try:
        async with raw(served) as peer:
            await peer.say("nonsense")
            assert (await peer.event())["type"] == "error"
            kinds = {type(each) for each in gc.get_objects()}
            let_go = (HttpProtocol, Request, Response, WebSocket)
            assert not [kind for kind in kinds if issubclass(kind, let_go)]
            assert [kind for kind in kinds if issubclass(kind, transport.WebSocketProtocol)]
            assert vars(protocol(served)) == {}
    finally:
        gc.enable()


async def test_a_peer_that_leaves_while_it_is_let_in_is_no_error(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = served.running.sockets.authenticator
    check = authenticator.websocket_caller

    async def leaving(headers: Mapping[str, str], ticket: str | None) -> str:
        protocol(served).transport.abort()
        return await check(headers, ticket)

    monkeypatch.setattr(authenticator, "websocket_caller", leaving)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(UPGRADE + b"\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()
    await until(lambda: not served.server.server_state.tasks, "nothing is left")
    assert not served.running.sockets.sockets
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


UPGRADE = b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE
ODD: list[tuple[str, bytes, tuple[int, ...]]] = [
    ("HTTP/1.0", UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), (400, 426)),
    ("POST", UPGRADE.replace(b"GET", b"POST") + b"Content-Length: 0\r\n", (400, 405)),
    ("no key", UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"), (400,)),
    ("a short key", UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl"), (400,)),
    ("no version", UPGRADE.replace(b"Sec-WebSocket-Version", b"X-Version"), (400, 426)),
    ("an old version", UPGRADE.replace(b"Version: 13", b"Version: 8"), (400, 426)),
    ("no host", UPGRADE.replace(b"Host: 127.0.0.1\r\n", b""), (400, 403)),
    ("two keys", UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", (400,)),
    ("200 headers", UPGRADE + b"".join(b"X-%d: y\r\n" % n for n in range(200)), (400, 431)),
    ("a header of 1 MB", UPGRADE + b"X-Long: " + b"y" * 1_000_000 + b"\r\n", (400, 431)),
    ("a header that is none", UPGRADE + b"nonsense\r\n", (400,)),
    ("a line break in the query", UPGRADE.replace(b"responses ", b"responses?resume=a\r\nX: y "), (400, 426)),
    ("a space in the query", UPGRADE.replace(b"responses ", b"responses?resume=a b "), (400,)),
    ("bytes above ASCII in the query", UPGRADE.replace(b"responses ", "responses?resume=é ".encode()), (400,)),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n", (400, 505)),
    ("another path", UPGRADE.replace(b"/v1/responses", b"/v1/models"), (403, 404)),
]


@pytest.mark.parametrize(("name", "head", "statuses"), ODD, ids=[name for name, *_ in ODD])
async def test_a_handshake_that_is_none(served: Served, name: str, head: bytes, statuses: tuple[int, ...]) -> None:
    assert await status(served, head) in statuses, name
    async with socket(served) as peer:
        assert (await peer.answer("[tokens=2]"))["status"] == "completed"


async def status(served: Served, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request + b"\r\n")
    async with asyncio.timeout(PATIENCE):
        line = await reader.readline()
    writer.transport.abort()
    return int(line.split()[1])


async def test_escaped_line_breaks_in_the_query_are_a_name_that_nobody_has(served: Served) -> None:
    async with raw(served, "?resume=a%0d%0aSet-Cookie:x=y&starting_after=1") as peer:
        assert b"Set-Cookie" not in peer.head
        error: Event = (await peer.event())["error"]
        assert error["code"] == "not_found"


async def test_compression_is_not_offered(served: Served) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with raw(served, headers=offer) as peer:
        assert b"extensions" not in peer.head.lower()
        await peer.write(frame(TEXT, b"\x00" * 100, reserved=4))
        assert await peer.closed() == 1002


async def test_a_hundred_refused_and_as_many_broken_sockets_leave_a_quiet_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        assert await status(served, UPGRADE.replace(b"127.0.0.1", b"evil.example")) == 403
        async with raw(served) as peer:
            await peer.write(frame(TEXT, b"\xff"), text({"type": "never read"}))
            assert await peer.closed() == 1007
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
