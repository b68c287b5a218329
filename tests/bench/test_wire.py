"""The raw client against a real server, and against one that sends what no real one would."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from bench.wire import ABNORMAL, NO_STATUS, PROTOCOL_ERROR, Refused, Wire, masked, type_of

LENGTHS = (0, 1, 125, 126, 127, 65535, 65536, 200_000)
Handler = Callable[[ServerConnection], object]


class Inbox:
    """What arrived, and a way to wait for it."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[bytes] = asyncio.Queue()
        self.times: list[float] = []
        self.wire = Wire(self._take)

    def _take(self, payload: bytes, arrived: float) -> None:
        self.texts.put_nowait(payload)
        self.times.append(arrived)

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.texts.get(), 60)

    async def over(self) -> int:
        return await asyncio.wait_for(self.wire.over, 60)


@asynccontextmanager
async def real(handler: Handler) -> AsyncIterator[str]:
    """The `websockets` library's server."""
    async with serve(handler, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:  # type: ignore[arg-type]
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def opened(handler: Handler) -> AsyncIterator[Inbox]:
    inbox = Inbox()
    async with real(handler) as url:
        await inbox.wire.open(url)
        yield inbox
        inbox.wire.abort()


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    """As a server sends it."""
    return Frame(opcode, data, fin).serialize(mask=mask)


def fed(*chunks: bytes) -> tuple[list[bytes], bytearray, Wire]:
    """A wire after its upgrade that was given these bytes: the texts, and what it wrote."""
    texts: list[bytes] = []
    wire = Wire(lambda payload, arrived: texts.append(payload))
    wire.connection_made(transport := Recorder())
    wire._take = wire._frames
    for chunk in chunks:
        wire.data_received(chunk)
    return texts, transport.written, wire


class Recorder(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def bytewise(data: bytes) -> Iterable[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


@pytest.mark.parametrize("length", LENGTHS)
async def test_every_length_comes_back(length: int) -> None:
    text = ("0123456789é" * (length // 11 + 1))[:length]
    async with opened(echo) as inbox:
        inbox.wire.send(text)
        assert await inbox.next() == text.encode()


async def test_order_and_times_are_kept() -> None:
    async with opened(echo) as inbox:
        for index in range(500):
            inbox.wire.send(str(index))
        assert [int(await inbox.next()) for _ in range(500)] == list(range(500))
    assert inbox.times == sorted(inbox.times)


def test_uvloop_drives_it_too() -> None:
    async def talk() -> bytes:
        async with opened(echo) as inbox:
            inbox.wire.send("hello")
            return await inbox.next()

    assert uvloop.run(talk()) == b"hello"


async def test_query_and_headers_reach_the_server() -> None:
    async def tell(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(f"{socket.request.path} {socket.request.headers['X-Kind']}")

    inbox = Inbox()
    async with real(tell) as url:
        await inbox.wire.open(f"{url}/v1?resume=a&starting_after=3", {"X-Kind": "bench"})
        assert await inbox.next() == b"/v1?resume=a&starting_after=3 bench"


async def test_fragments_become_one_message() -> None:
    async def pieces(socket: ServerConnection) -> None:
        await socket.send(iter(["a", "", "bc", "é"]))
        await socket.wait_closed()

    async with opened(pieces) as inbox:
        assert await inbox.next() == "abcé".encode()


async def test_a_ping_is_answered() -> None:
    async def ping(socket: ServerConnection) -> None:
        await (await socket.ping(b"x" * 125))
        await socket.send("answered")

    async with opened(ping) as inbox:
        assert await inbox.next() == b"answered"


async def test_the_peers_close_code_is_reported() -> None:
    async def leave(socket: ServerConnection) -> None:
        await socket.close(1012, "restart")

    async with opened(leave) as inbox:
        assert await inbox.over() == 1012


async def test_the_server_hears_our_close() -> None:
    heard: asyncio.Queue[int | None] = asyncio.Queue()

    async def listen(socket: ServerConnection) -> None:
        await socket.wait_closed()
        heard.put_nowait(socket.close_code)

    async with opened(listen) as inbox:
        inbox.wire.close(1000)
        assert await inbox.over() == 1000
        assert await asyncio.wait_for(heard.get(), 60) == 1000


async def test_an_abort_sends_no_close_frame() -> None:
    heard: asyncio.Queue[int | None] = asyncio.Queue()

    async def listen(socket: ServerConnection) -> None:
        await socket.wait_closed()
        heard.put_nowait(socket.close_code)

    async with opened(listen) as inbox:
        inbox.wire.abort()
        assert await inbox.over() == ABNORMAL
        assert await asyncio.wait_for(heard.get(), 60) == ABNORMAL


async def answered(answer: bytes) -> Refused:
    """What opening raises when the server answers so and hangs up."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        with pytest.raises(Refused) as refused:
            await Inbox().wire.open(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    return refused.value


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n", 101),
        (b"hello\r\n\r\n", 0),
        (b"x" * 70_000, 0),
        (b"", 0),
    ],
)
async def test_an_upgrade_may_be_refused(answer: bytes, status: int) -> None:
    assert (await answered(answer)).status == status


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        inbox = Inbox()
        with pytest.raises(TimeoutError):
            await inbox.wire.open(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout=0.1)
        assert await inbox.over() == ABNORMAL


@pytest.mark.parametrize("length", [*LENGTHS[:5], 66_000])
async def test_bytes_may_come_one_by_one(length: int) -> None:
    data = frame(Opcode.TEXT, b"a" * length) + frame(Opcode.PING, b"p") + frame(Opcode.TEXT, b"end")
    head, body = data[:300], data[300:]
    texts, written, _ = fed(*bytewise(head), body[:-20], *bytewise(body[-20:]))
    assert texts == [b"a" * length, b"end"]
    assert len(written) == 2 + 4 + 1


async def test_every_split_in_two_reads_the_same() -> None:
    data = b"".join(frame(Opcode.TEXT, b"x" * n) for n in (0, 5, 126, 300))
    for cut in range(len(data) + 1):
        texts, _, _ = fed(data[:cut], data[cut:])
        assert [len(text) for text in texts] == [0, 5, 126, 300]


async def test_control_frames_may_stand_between_fragments() -> None:
    data = frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.PONG, b"") + frame(Opcode.CONT, b"b")
    assert fed(data)[0] == [b"ab"]


@pytest.mark.parametrize(
    "data",
    [
        frame(Opcode.CONT, b"lost"),
        frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"),
        frame(Opcode.BINARY, b"b"),
        b"\xc1\x00",  # a reserved bit
    ],
)
async def test_what_breaks_the_protocol_ends_the_socket(data: bytes) -> None:
    texts, _, wire = fed(data + frame(Opcode.TEXT, b"with it"), frame(Opcode.TEXT, b"later"))
    wire.connection_lost(None)
    assert texts == []
    assert await wire.over == PROTOCOL_ERROR


async def test_a_close_without_a_code_is_reported_as_1005() -> None:
    _, _, wire = fed(frame(Opcode.CLOSE, b""), frame(Opcode.TEXT, b"later"))
    wire.connection_lost(None)
    assert await wire.over == NO_STATUS


def test_masking_is_as_the_rfc_shows() -> None:
    """RFC 6455, 5.7."""
    assert masked(1, b"Hello", bytes.fromhex("37fa213d")).hex() == "818537fa213d7f9f4d5158"


def test_the_type_is_found_without_parsing() -> None:
    assert type_of(b'{"type":"response.created","response":{"type":"x"}}') == b"response.created"
    assert type_of(b"{}") == b""
