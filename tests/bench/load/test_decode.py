"""HTTP answers and event streams, cut wherever a network may cut them."""

import itertools

import pytest

from bench.load.decode import BadHttp, End, Head, Piece, ResponseDecoder, SseDecoder, request

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: a:b\r\n\r\n"
    b"5;name=value\r\nhello\r\n9\r\n, world\r\n\r\n0\r\nTrailer: 1\r\n\r\n"
)
LENGTH = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\nConnection: Close\r\n\r\nwait"


def parts(data: bytes, size: int) -> list[Piece]:
    answers = ResponseDecoder()
    return [part for at in range(0, len(data), size) for part in answers.feed(data[at : at + size])]


def body(found: list[Piece]) -> bytes:
    return b"".join(part for part in found if isinstance(part, bytes))


@pytest.mark.parametrize("size", range(1, len(CHUNKED + LENGTH) + 1))
def test_answers_one_after_the_other_wherever_they_are_cut(size: int) -> None:
    found = parts(CHUNKED + LENGTH, size)
    heads = [part for part in found if isinstance(part, Head)]
    assert [head.status for head in heads] == [200, 429]
    assert [head.keeps for head in heads] == [True, False]
    assert heads[0].headers["x"] == "a:b"
    assert body(found) == b"hello, world\r\nwait"
    assert [type(part) for part in found if not isinstance(part, bytes)] == [Head, End, Head, End]


def test_chunks_are_joined_without_their_frames() -> None:
    assert body(parts(CHUNKED, 7)) == b"hello, world\r\n"


def test_a_204_has_no_body() -> None:
    assert [type(part) for part in parts(b"HTTP/1.1 204 No Content\r\n\r\n", 100)] == [Head, End]


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    answers = ResponseDecoder()
    assert body(list(answers.feed(b"HTTP/1.0 200 OK\r\n\r\nall of it"))) == b"all of it"
    assert list(answers.eof()) == [End()]


def test_a_cut_answer_is_an_error() -> None:
    answers = ResponseDecoder()
    list(answers.feed(CHUNKED[:80]))
    with pytest.raises(BadHttp, match="cut"):
        list(answers.eof())


def test_a_connection_that_closes_between_answers_is_no_error() -> None:
    answers = ResponseDecoder()
    list(answers.feed(CHUNKED))
    assert list(answers.eof()) == []


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", CHUNKED.replace(b"5;", b"x;")])
def test_bytes_that_are_not_http_raise(data: bytes) -> None:
    with pytest.raises(BadHttp):
        parts(data, 1000)


STREAM = b': hi\n\nevent: a\ndata: {"x": 1}\n\ndata:two\ndata: lines\n\n\nevent: none\n\ndata: [DONE]\n\n'
EVENTS = [b'{"x": 1}', b"two\nlines", b"[DONE]"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_wherever_they_are_cut(end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    for size in range(1, len(stream) + 1):
        sse = SseDecoder()
        pieces = (stream[at : at + size] for at in range(0, len(stream), size))
        assert list(itertools.chain.from_iterable(map(sse.feed, pieces))) == EVENTS


def test_a_request_is_encoded_with_its_headers_and_length() -> None:
    assert request("POST", "/v1", "h:1", b"{}", {"authorization": "Bearer k"}) == (
        b"POST /v1 HTTP/1.1\r\nhost: h:1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        b"authorization: Bearer k\r\n\r\n{}"
    )
