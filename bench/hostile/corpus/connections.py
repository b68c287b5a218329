"""Connections: frames, fragments, handshakes, slowness, pipelines, compression."""

import gzip
import zlib
from collections.abc import Iterator
from random import Random

from bench.hostile.corpus.family import Family, Ground
from bench.hostile.inputs import (
    LIMIT,
    Input,
    Piece,
    create,
    dripped,
    encoded,
    fragments,
    frame,
    framed,
    handshake,
    http,
    pings,
    raw_frame,
    said,
)
from bench.wire import CLOSE, PING, PONG, TEXT

UNKNOWN = encoded({"type": "unknown"})


def frames(ground: Ground, random: Random) -> Iterator[Input]:
    """Frames that break the rules, and many small ones that do not."""
    yield framed("one of the largest", frame(b" " * (LIMIT - 2) + b"{}"))
    yield framed("one that is too large", frame(b" " * (LIMIT + 1)))
    for claimed in (LIMIT + 1, 2**62, 2**64 - 1):
        yield framed(f"a length of {claimed}", bytes((0x81, 0xFF)) + claimed.to_bytes(8, "big") + bytes(4))
    yield framed("without a mask", b"\x81\x02{}")
    for bit in (0x40, 0x20, 0x10):
        yield framed(f"reserved bit {bit:#x}", raw_frame(0x80 | bit | TEXT, UNKNOWN))
    for opcode in (3, 7, 0xB, 0xF):
        yield framed(f"opcode {opcode}", raw_frame(0x80 | opcode, UNKNOWN))
    yield framed("a binary one", frame(UNKNOWN, 2))
    yield framed("a binary one of the largest", frame(bytes(LIMIT), 2))
    yield framed("no UTF-8", frame(b'{"type":"\xff\xfe"}'))
    yield framed("no UTF-8 at the end of a large one", frame(b" " * (LIMIT - 10) + b"\xff"))
    yield framed("5,000 empty ones", frame(b"") * 5000, answers=5000)
    yield framed("5,000 of two bytes", frame(b"{}") * 5000, answers=5000)
    yield framed("3,000 binary ones", frame(b"a", 2) * 3000, answers=3000)
    yield framed(
        "a length in more bytes than it needs", bytes((0x81, 0xFF)) + (2).to_bytes(8, "big") + bytes(4) + b"{}"
    )
    yield framed("random bytes", random.randbytes(LIMIT))


def pieces(ground: Ground, random: Random) -> Iterator[Input]:
    """Messages in many fragments, or in fragments that make no message."""
    message = UNKNOWN.ljust(100_000)
    yield framed("100,000 of one byte", fragments(message, 1))
    yield framed("20,000 of one byte with pings between", fragments(message[:20_000], 1, pings(1)))
    yield framed("1,000 of 1,000", fragments(UNKNOWN.ljust(1_000_000), 1000))
    empty = raw_frame(TEXT, b"") + raw_frame(0, b"") * 150_000 + raw_frame(0x80, UNKNOWN)
    yield framed("150,000 empty ones", empty)
    yield framed("too large in all", fragments(b" " * (LIMIT + 10), 4096))
    yield framed("the end alone", raw_frame(0x80, UNKNOWN))
    yield framed("a second beginning", raw_frame(TEXT, b"{") + frame(UNKNOWN))
    yield framed("without an end", raw_frame(TEXT, b" " * (LIMIT // 2)), answers=0)
    yield framed("fragments of a character", fragments(encoded({"type": "é"}).decode("unicode_escape").encode(), 1))
    many = b"".join(fragments(UNKNOWN, 2) for _ in range(1000))
    yield framed("1,000 messages in pieces", many, answers=1000)


def control(ground: Ground, random: Random) -> Iterator[Input]:
    """Pings, pongs and closes in great number, or wrong."""
    after = frame(UNKNOWN)
    yield framed("100,000 pings", pings(100_000) + after)
    yield framed("8,000 pings of 125", pings(8000, bytes(125)) + after)
    yield framed("100,000 pongs", frame(b"", PONG) * 100_000 + after)
    yield framed("8,000 pings, nothing is read", pings(8000, bytes(125)), answers=0, reads=False)
    yield framed("a ping of 126", frame(bytes(126), PING))
    yield framed("a ping in fragments", raw_frame(PING, b"a"))
    for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535):
        yield framed(f"close {code}", frame(code.to_bytes(2, "big"), CLOSE))
    yield framed("a close of one byte", frame(b"\x03", CLOSE))
    yield framed("a close without UTF-8", frame(b"\x03\xe8\xff", CLOSE))
    yield framed("1,000 closes", frame(b"\x03\xe8", CLOSE) * 1000)
    yield framed("questions after a close", frame(b"\x03\xe8", CLOSE) + after * 1000)


def slow(ground: Ground, random: Random) -> Iterator[Input]:
    """Bytes that come one by one, and readers that do not read."""
    body = encoded(create())
    request = http("POST", "/v1/responses", body)
    yield dripped("a handshake by the byte", handshake()[:40], 1, 0.2, answers=0)
    yield dripped("a request by the byte", request[:40], 1, 0.2, answers=0)
    yield Input(
        "a body by the byte",
        (Piece(request[:-40]), *(Piece(request[n : n + 1], 0.2) for n in range(-40, -1))),
        answers=0,
    )
    yield dripped("a frame by the byte", frame(UNKNOWN), 1, 0.2, upgraded=True)
    yield dripped("a large frame by the packet", frame(UNKNOWN.ljust(400_000)), 10_000, 0.2, upgraded=True)
    chunked = http("POST", "/v1/responses", b"", [("transfer-encoding", "chunked")])
    yield Input("chunks of one byte", (Piece(chunked), *(Piece(b"1\r\n \r\n", 0.2) for _ in range(40))), answers=0)
    large = chunked + b"1\r\n \r\n" * 100_000 + b"2\r\n{}\r\n0\r\n\r\n"
    yield Input("100,000 chunks of one byte", (Piece(large),))
    long = encoded(create(max_output_tokens=256, ignore_eos=True))
    yield framed("a stream that nobody reads", frame(long), answers=0, reads=False, runs=True)
    resumes = encoded({"type": "throughline:resume", "response_id": ground.response})
    yield framed("64 resumes that nobody reads", frame(resumes) * 64, answers=0, reads=False)
    stream = f"/v1/responses/{ground.response}?stream=true"
    yield Input("200 streams over HTTP that nobody reads", (Piece(http("GET", stream) * 200),), answers=0, reads=False)
    errors = frame(b"x") * 20_000
    yield framed("20,000 errors that nobody reads", errors, answers=0, reads=False)


def handshakes(ground: Ground, random: Random) -> Iterator[Input]:
    """Handshakes that stop half-way, or are something else."""
    hello = handshake()
    yield Input("nothing", (Piece(b""), Piece(b"", 3.0)), answers=0)
    yield Input("half of one", (Piece(hello[: len(hello) // 2]), Piece(b"", 3.0)), answers=0)
    yield Input("without its last line", (Piece(hello[:-2]), Piece(b"", 3.0)), answers=0)
    yield Input("TLS", (Piece(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500)),))
    yield Input("HTTP/2", (Piece(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),))
    yield Input("HTTP/1.0", (Piece(hello.replace(b"HTTP/1.1", b"HTTP/1.0")),))
    yield Input("HTTP/0.9", (Piece(b"GET /v1/responses\r\n\r\n"),))
    yield Input("a POST", (Piece(hello.replace(b"GET", b"POST")),))
    yield Input("another path", (Piece(handshake("/v1/models")),))
    yield Input("a random million", (Piece(random.randbytes(LIMIT)),))
    yield Input("line ends", (Piece(b"\r\n" * 200_000),), answers=0)
    yield Input("frames before the answer", (Piece(hello + frame(UNKNOWN) * 2000),), answers=1)
    yield Input("a handshake in a handshake", (Piece(hello + hello),))
    yield Input("a body", (Piece(handshake(headers=[("content-length", "100000")]) + bytes(100_000)),))


def pipeline(ground: Ground, random: Random) -> Iterator[Input]:
    """Many requests in one write, without waiting for an answer."""
    small = http("GET", "/v1/models")
    count = {"GET /v1/models": small, "GET /healthz": http("GET", "/healthz"), "GET /metrics": http("GET", "/metrics")}
    for name, request in count.items():
        times = 200 if "metrics" in name else 3000
        yield Input(f"{times} x {name}", (Piece(request * times),), answers=times)
    counted = http("POST", "/v1/responses/input_tokens", encoded({"input": "a " * 1000}))
    yield Input("400 counts", (Piece(counted * 400),), answers=400, wait=30.0)
    turns = http("POST", "/v1/responses", encoded(create(max_output_tokens=1)))
    yield Input("50 turns", (Piece(turns * 50),), answers=50, runs=True, wait=30.0)
    yield Input("2,000 that are refused", (Piece(http("POST", "/v1/responses", b"{") * 2000),), answers=2000)
    yield Input("an upgrade at the end", (Piece(small * 500 + handshake()),), answers=501)
    yield Input("10,000, nothing is read", (Piece(small * 10_000),), answers=0, reads=False)
    large = http("POST", "/v1/responses/input_tokens", b" " * (LIMIT - 10))
    yield Input("20 large bodies", (Piece(large * 20),), answers=20)


def compressed(ground: Ground, random: Random) -> Iterator[Input]:
    """Bodies that say they are compressed, and frames that are."""
    bomb = gzip.compress(b" " * (64 * LIMIT), mtime=0)
    chat = encoded(create())
    bodies = {
        "gzip": gzip.compress(chat, mtime=0),
        "gzip bomb": bomb,
        "gzip bomb in a bomb": gzip.compress(bomb, mtime=0),
        "deflate": zlib.compress(chat),
        "br": random.randbytes(1000),
        "zstd": b"\x28\xb5\x2f\xfd" + random.randbytes(1000),
        "identity": chat,
        "nonsense": chat,
        "gzip, gzip": gzip.compress(gzip.compress(chat, mtime=0), mtime=0),
    }
    for name, body in bodies.items():
        encoding = name.removesuffix(" bomb").removesuffix(" bomb in a") if "bomb" in name else name
        for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/conversations"):
            request = http("POST", path, body, [("content-encoding", encoding)])
            yield Input(f"{name} to {path}", (Piece(request),), runs=name == "identity")
    coded = http("POST", "/v1/responses", b"5\r\naaaaa\r\n0\r\n\r\n", [("transfer-encoding", "gzip, chunked")])
    yield Input("transfer-encoding: gzip", (Piece(coded),))
    offer = [("sec-websocket-extensions", "permessage-deflate; client_max_window_bits; " * 200)]
    yield Input("an extension offered 200 times", (Piece(handshake(headers=offer)),))
    deflated = zlib.compressobj(wbits=-15)
    payload = deflated.compress(b" " * (16 * LIMIT)) + deflated.flush(zlib.Z_SYNC_FLUSH)
    yield framed("a compressed frame that nobody agreed to", raw_frame(0xC1, payload[:-4]))
    yield said("a field named content-encoding", {**create(), "content-encoding": "gzip"}, runs=True)


CONNECTIONS = (
    Family("frames", "frames that break the rules, many small ones", frames),
    Family("fragments", "messages in many pieces", pieces),
    Family("control", "pings, pongs, closes", control),
    Family("slow", "bytes one by one, readers that stop", slow),
    Family("handshakes", "half-open, or something else", handshakes),
    Family("pipeline", "many requests in one write", pipeline),
    Family("compressed", "compressed bodies, bombs, frames", compressed),
)
