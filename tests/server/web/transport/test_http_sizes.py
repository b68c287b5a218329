"""Requests that take room before anybody knows whose they are, and requests in line."""

import asyncio
from itertools import pairwise

import orjson
import pytest

from engine.scripted import ScriptedEngine
from server.web.transport import http_protocol
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE
from tests.server.raw import HANDSHAKE, raw
from tests.server.scenarios.test_slow_readers import resident
from tests.server.web.transport.stranger import (
    HOST,
    KEYS,
    MODELS,
    POST,
    peer,
)
from tests.serving import Served
from tests.waiting import until

LARGE = [
    ("an address", b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n", 414),
    ("half an address", b"GET /" + b"a" * 1_000_000, 414),
    ("a handshake's address", b"GET /v1/responses?resume=" + b"a" * 8000 + b" HTTP/1.1\r\n" + HANDSHAKE, 414),
    ("one header", MODELS[:-2] + b"X: " + b"y" * 36_000 + b"\r\n", 431),
    ("half a header", MODELS[:-2] + b"X: " + b"y" * 1_000_000, 431),
    ("half a name", MODELS[:-2] + b"x" * 1_000_000, 431),
    ("all headers", MODELS[:-2] + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 1000) for n in range(40)), 431),
    ("the number of headers", MODELS[:-2] + b"".join(b"X-%d: y\r\n" % n for n in range(102)), 431),
    ("a handshake's headers", b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + b"X: y\r\n" * 100, 431),
    ("spaces", b"GET " + b" " * 1_000_000, 431),
    ("empty lines", b"\r\n" * 500_000, 431),
    ("a folded header", MODELS[:-2] + b"X: y\r\n" + b" y\r\n" * 300_000, 400),
    ("a method", b"A" * 1_000_000, 400),
    ("trailers", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 200, 431),
    ("half a trailer", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * 100_000, 431),
    ("a chunk's extension", POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1_000_000, 431),
]


@pytest.mark.parametrize(("name", "said", "status"), LARGE, ids=[name for name, *_ in LARGE])
async def test_what_is_too_large_is_refused_before_it_is_all_there(
    served: Served, name: str, said: bytes, status: int
) -> None:
    before = resident()
    async with peer(served, said) as each:
        assert (await each.refusal())[0] == status
    assert resident() - before < 8 * 1024 * 1024


async def test_what_is_just_small_enough_is_understood(served: Served) -> None:
    long = b"GET /v1/models?x=" + b"a" * 7900 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    large = MODELS[:-2] + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 990) for n in range(32)) + b"\r\n"
    many = MODELS[:-2] + b"X: y\r\n" * 99 + b"\r\n"
    for said in (long, large, many):
        async with peer(served, said) as each:
            assert (await each.answer())[0] == 200
    query = "?resume=" + "a" * 7000
    async with raw(served, query) as open_socket:
        assert (await open_socket.event())["error"]["code"] == "not_found"


async def test_extensions_and_trailers_that_are_small_change_nothing(nodes: Nodes) -> None:
    """A trailer is no header: it does not say who is calling."""
    body = orjson.dumps({"input": "[tokens=1]"})
    chunks = b"".join(b"1;name=value\r\n%c\r\n" % byte for byte in body)
    said = POST + b"Transfer-Encoding: chunked\r\n%b\r\n" + chunks + b"0\r\nAuthorization: Bearer secret\r\n\r\n"
    async with nodes(api_keys=KEYS) as served:
        for header, status in ((b"Authorization: Bearer secret\r\n", 200), (b"", 401)):
            async with peer(served, said.replace(b"%b", header)) as each:
                assert (await each.answer())[0] == status


async def test_thousands_of_pipelined_requests_are_answered_one_after_the_other(served: Served) -> None:
    """What is not its turn yet stays as bytes: as objects, each would be kilobytes."""
    count, before, most = 3000, resident(), 0
    async with peer(served) as each:
        each.writer.write(MODELS * count)
        for _ in range(count):
            assert (await each.answer())[0] == 200
            most = max(most, *(len(one.pipeline) for one in served.server.server_state.connections))  # type: ignore[union-attr]
    assert most < 2 * http_protocol.PIECE / len(MODELS)
    assert resident() - before < 16 * 1024 * 1024


async def test_a_pipelined_body_waits_for_the_answer_before_it(served: Served) -> None:
    one = orjson.dumps({"input": "[tokens=1]"})
    said = POST + b"Content-Length: %d\r\n\r\n" % len(one) + one
    async with peer(served, said * 20) as each:
        bodies = [orjson.loads((await each.answer())[1]) for _ in range(20)]
        assert {body["status"] for body in bodies} == {"completed"}
        assert all(first["created_at"] <= second["created_at"] for first, second in pairwise(bodies))


async def test_a_broken_request_is_not_answered_in_the_middle_of_an_answer(served: Served) -> None:
    """The peer would take the one for a part of the other: it gets the first one whole before."""
    body = orjson.dumps({"input": "[tokens=500]", "stream": True, "max_output_tokens": 1000})
    async with peer(served, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body) as each:
        async with asyncio.timeout(PATIENCE):
            assert (await each.reader.readline()).split()[1] == b"200"
        await each.write(b"NONSENSE\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            read = await each.reader.read()
        whole, end, refused = read.partition(b"\r\n0\r\n\r\n")
        assert end
        assert b"response.completed" in whole
        assert b"HTTP/1.1 400" not in whole
        assert refused.startswith(b"HTTP/1.1 400")


async def test_the_rest_of_an_answered_request_has_no_second_answer(nodes: Nodes) -> None:
    async with nodes(api_keys=KEYS) as served, peer(served, POST + b"Transfer-Encoding: chunked\r\n\r\n") as each:
        assert (await each.answer())[0] == 401
        await each.write(b"nonsense\r\n")
        assert await each.ended()


async def test_an_application_hears_of_a_client_that_leaves_with_requests_in_line(nodes: Nodes) -> None:
    """uvicorn would tell only the latest of its requests."""
    async with nodes(ScriptedEngine(rate=20)) as served:
        body = orjson.dumps({"input": "[tokens=500]", "stream": True, "max_output_tokens": 1000})
        async with peer(served, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body + MODELS * 100):
            await until(lambda: served.node.presence.watched_turns(), "somebody looks")
        await until(lambda: not served.node.presence.watched_turns(), "nobody looks any more")
