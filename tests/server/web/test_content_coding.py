"""Bodies that come compressed: what they hold, and what they may cost."""

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd

from server.protocol.errors import WireError
from server.web.content_coding import MAX_MEMBERS, coding_of, decode
from tests.server.conftest import Nodes
from tests.server.peer import client
from tests.serving import Served
from tests.speed import slowness

Pack = Callable[[bytes], bytes]
TEXT = '{"input":"[tokens=2]","metadata":{"t":"grün 日本 😀"}}'.encode()


def bare_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def streamed_zstd(data: bytes) -> bytes:
    """As a client writes that does not know the size beforehand."""
    writer = zstd.ZstdCompressor()
    return writer.compress(data[:10], zstd.ZstdCompressor.FLUSH_BLOCK) + writer.compress(data[10:]) + writer.flush()


def with_checksum(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


PACKED: list[tuple[str, Pack]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("zstd", zstd.compress),
    ("zstd", streamed_zstd),
    ("zstd", with_checksum),
    ("identity, gzip", gzip.compress),
    ("identity", bytes),
    ("", bytes),
]
ONE_EACH: list[tuple[str, Pack]] = [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress)]


def refusal(body: bytes, coding: str, limit: int = 1 << 20) -> WireError:
    with pytest.raises(WireError) as caught:
        decode(body, coding, limit)
    return caught.value


@pytest.mark.parametrize(("coding", "pack"), PACKED)
async def test_a_body_is_read_in_every_coding(served: Served, coding: str, pack: Pack) -> None:
    headers = {"content-encoding": coding, "content-type": "application/json"}
    async with client(served) as http:
        made = (await http.post("responses", content=pack(TEXT), headers=headers)).json()
        assert made["metadata"] == {"t": "grün 日本 😀"}
        kept = await http.post("conversations", content=pack(b'{"metadata":{"a":"b"}}'), headers=headers)
        assert kept.json()["metadata"] == {"a": "b"}


async def test_a_body_that_comes_in_pieces(served: Served) -> None:
    packed = zstd.compress(TEXT)

    async def pieces() -> Any:
        for byte in packed:
            yield bytes([byte])

    async with client(served) as http:
        made = await http.post("responses", content=pieces(), headers={"content-encoding": "zstd"})
        assert made.json()["status"] == "completed"


@pytest.mark.parametrize(
    "coding", ["br", "compress", "gzip, gzip", "zstd,gzip", "none", "utf-8", "gzip;q=1", "aws-chunked"]
)
async def test_other_codings_are_refused_and_told_which_there_are(served: Served, coding: str) -> None:
    async with client(served) as http:
        for path in ("responses", "responses/input_tokens", "conversations"):
            answer = await http.post(path, content=TEXT, headers={"content-encoding": coding})
            assert answer.status_code == 415
            assert answer.json()["error"]["code"] == "unsupported_content_encoding"
            assert answer.headers["accept-encoding"] == "gzip, deflate, zstd"


def test_several_headers_are_one_list() -> None:
    assert coding_of([]) is None
    assert coding_of(["identity", " ZSTD "]) == "zstd"
    with pytest.raises(WireError):
        coding_of(["gzip", "zstd"])


@pytest.mark.parametrize(("coding", "pack"), ONE_EACH)
async def test_a_bomb_is_refused_by_the_size_limit(nodes: Nodes, coding: str, pack: Pack) -> None:
    bomb = pack(b" " * 4_000_000)
    async with nodes(max_message_bytes=65536) as served, client(served) as http:
        assert len(bomb) < 65536
        answer = await http.post("responses", content=bomb, headers={"content-encoding": coding})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(("coding", "pack"), ONE_EACH)
def test_a_bomb_costs_no_more_than_the_limit(coding: str, pack: Pack) -> None:
    bomb = pack(b"\0" * 256_000_000)
    tracemalloc.start()
    began = time.thread_time()
    error = refusal(bomb[: 1 << 20], coding)
    took, (_, peak) = time.thread_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.status == 413
    assert peak < 8 << 20
    assert took < 0.5 * slowness()


@pytest.mark.parametrize(("coding", "pack"), ONE_EACH)
def test_the_limit_is_exact(coding: str, pack: Pack) -> None:
    body = bytes(range(256)) * 16
    assert decode(pack(body), coding, len(body)) == body
    assert refusal(pack(body), coding, len(body) - 1).status == 413


@pytest.mark.parametrize(("coding", "pack"), [*ONE_EACH, ("deflate", bare_deflate), ("zstd", streamed_zstd)])
def test_a_stream_cut_short_is_told_so_wherever_it_was_cut(coding: str, pack: Pack) -> None:
    whole = pack(TEXT)
    for end in range(1, len(whole)):
        error = refusal(whole[:end], coding)
        assert error.status == 400
        assert f"not valid {coding}" in error.message
    assert "it ends too early" in refusal(whole[:-1], coding).message


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize(
    "body", [TEXT, b"\0", b"\x1f\x8b", b"\x78\x9c\xff\xff\xff", b"\x28\xb5\x2f\xfd\xff", b"\xff" * 99]
)
def test_what_is_no_such_stream_is_told_so(coding: str, body: bytes) -> None:
    error = refusal(body, coding)
    assert (error.status, error.code) == (400, "invalid_request_error")
    assert f"not valid {coding}" in error.message


def test_broken_checksums_are_found() -> None:
    for coding, whole in (
        ("gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("zstd", with_checksum(TEXT)),
    ):
        at = -5 if coding == "gzip" else -1
        broken = bytearray(whole)
        broken[at] ^= 1
        assert f"not valid {coding}" in refusal(bytes(broken), coding).message


def test_an_empty_body_is_empty() -> None:
    for coding, pack in ONE_EACH:
        assert decode(b"", coding, 10) == decode(pack(b""), coding, 10) == b""


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_streams_behind_each_other_are_one_body_while_they_are_few(coding: str, pack: Pack) -> None:
    assert decode(b"".join(map(pack, (TEXT[:9], b"", TEXT[9:]))), coding, 1 << 20) == TEXT
    assert decode(pack(b"x") * MAX_MEMBERS, coding, 1 << 20) == b"x" * MAX_MEMBERS
    began = time.thread_time()
    assert refusal(pack(b"") * 40_000, coding).status == 400
    assert time.thread_time() - began < 0.5 * slowness()


def test_a_stream_that_asks_for_a_large_window_is_refused() -> None:
    """It would take the window in memory, whatever it holds."""
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = wide.compress(b"x" * 100, zstd.ZstdCompressor.FLUSH_BLOCK) + wide.flush()
    assert "not valid zstd" in refusal(body, "zstd").message


def test_a_dictionary_is_nothing_that_both_sides_have() -> None:
    words = zstd.ZstdDict(b"the quick brown fox " * 20, is_raw=True)
    body = zstd.compress(b"the quick brown fox " * 3, zstd_dict=words)
    assert refusal(body, "zstd").status == 400
    writer = zlib.compressobj(zdict=b"the quick brown fox")
    assert refusal(writer.compress(b"the quick brown fox") + writer.flush(), "deflate").status == 400
