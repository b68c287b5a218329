"""Connections that take their time before anybody knows who they are, and what is not HTTP at all."""

import asyncio
import logging
from contextlib import AsyncExitStack

import orjson
import pytest

from server.web.transport import http_protocol, refusals
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE
from tests.server.raw import HANDSHAKE
from tests.server.web.transport.stranger import (
    HOST,
    KEYS,
    MODELS,
    POST,
    flood,
    limit,
    peer,
    policy,
    trickle,
)
from tests.serving import Served
from tests.waiting import until

HALVES = [
    b"G",
    b"GET /v1/responses HTTP/1.1\r\n",
    b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE,
    b"POST /v1/responses HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n",
]


@pytest.mark.parametrize("half", HALVES)
async def test_a_head_whose_end_does_not_come_is_given_up(served: Served, half: bytes) -> None:
    limit(served, head_seconds=0.2)
    async with peer(served, half) as each:
        assert await each.refusal() == (408, "request_timeout")
    await until(lambda: not served.server.server_state.connections, "nothing is kept")
    assert len(policy(served).table) == 0


async def test_a_silent_connection_is_closed_without_a_word(served: Served) -> None:
    """Browsers open some in advance, and would take an answer for that of their next request."""
    limit(served, head_seconds=0.2)
    for said in (b"", b"\r\n\r\n"):
        async with peer(served, said) as each:
            assert await each.ended()


async def test_a_trickle_does_not_buy_time_for_a_head(served: Served) -> None:
    limit(served, head_seconds=0.3)
    async with peer(served) as each:
        writing = asyncio.create_task(trickle(each, MODELS[:-2] + b"X: y\r\n" * 1000, 0.02))
        assert await each.refusal() == (408, "request_timeout")
        writing.cancel()


async def test_a_trickle_between_two_requests_is_given_up(served: Served) -> None:
    """Empty lines, which are not a request yet; and half of one."""
    limit(served, head_seconds=0.3)
    for said in (b"\r\n" * 1000, b"GET /v1/models HTTP/1.1\r\n" + b"X: y\r\n" * 1000):
        async with peer(served, MODELS) as each:
            assert (await each.answer())[0] == 200
            writing = asyncio.create_task(trickle(each, said, 0.02))
            assert await each.refusal() == (408, "request_timeout")
            writing.cancel()


BODIES = [
    b"Content-Length: 100\r\n\r\n",
    b"Content-Length: 100\r\n\r\n{",
    b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n",
]


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_whose_end_does_not_come_is_given_up(served: Served, body: bytes) -> None:
    limit(served, body_seconds=0.3)
    async with peer(served, POST + body) as each:
        if b"100-continue" in body:
            assert await each.answer() == (100, b"")
        assert await each.refusal() == (408, "request_timeout")
    await until(lambda: not served.server.server_state.tasks, "the application has let it go")


async def test_a_trickle_does_not_buy_time_for_a_body(served: Served) -> None:
    limit(served, body_seconds=0.3)
    async with peer(served, POST + b"Content-Length: 1000\r\n\r\n") as each:
        writing = asyncio.create_task(trickle(each, b" " * 1000, 0.02))
        assert await each.refusal() == (408, "request_timeout")
        writing.cancel()


async def test_a_slow_body_has_time_by_its_size(served: Served) -> None:
    """Longer than a trickle would have."""
    limit(served, body_seconds=0.5, body_rate=200)  # 5.5 s in all
    body = orjson.dumps({"input": "[tokens=1]"}).ljust(1000)
    async with peer(served, POST + b"Content-Length: 1000\r\n\r\n") as each:
        for at in range(0, 1000, 100):
            await each.write(body[at : at + 100])
            await asyncio.sleep(0.1)
        assert (await each.answer())[0] == 200


async def test_a_request_that_was_answered_early_has_a_little_time_for_its_rest(nodes: Nodes) -> None:
    """A refused body goes on coming, and its sender still reads why; the connection can be used again."""
    async with nodes(api_keys=KEYS) as served:
        limit(served, rest_seconds=0.3)
        for rest in (b"", b" " * 99):
            async with peer(served, POST + b"Content-Length: 100\r\n\r\n " + rest) as each:
                assert (await each.answer())[0] == 401
                if rest:
                    await each.write(MODELS)
                    assert (await each.answer())[0] == 401
                else:
                    assert await each.ended()


async def test_a_body_that_never_ends_is_cut_though_it_is_quick(nodes: Nodes) -> None:
    async with nodes(max_message_bytes=1024) as served:
        limit(served, rest_seconds=0.3)
        async with peer(served, POST + b"Transfer-Encoding: chunked\r\n\r\n") as each:
            writing = asyncio.create_task(flood(each, b"400\r\n" + b" " * 1024 + b"\r\n"))
            assert (await each.answer())[0] == 413
            async with asyncio.timeout(PATIENCE):
                await writing


async def test_an_idle_connection_is_closed(served: Served) -> None:
    served.server.config.timeout_keep_alive = 1
    async with peer(served, MODELS) as each:
        assert (await each.answer())[0] == 200
        assert await each.ended()


async def test_an_answer_that_a_stranger_does_not_read_is_given_up(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a little from time to time is what the kernel would put up with for ever."""
    monkeypatch.setattr(http_protocol, "FLUSH_SECONDS", 0.3)
    async with nodes(api_keys=KEYS) as served, peer(served) as each:
        each.writer.transport.pause_reading()  # type: ignore[attr-defined]
        each.writer.write(b"GET /widget.js HTTP/1.1\r\n" + HOST + b"\r\n")
        await until(lambda: len(served.server.server_state.connections) == 1, "it is there")
        for _ in range(2000):
            each.writer.write(MODELS)
        await until(lambda: not served.server.server_state.connections, "nothing is kept")


# -- the rest --------------------------------------------------------------------------------------------------------

HOSTS = [
    ("a handshake without", b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE.replace(HOST, b"")),
    ("a request without", MODELS.replace(HOST, b"")[:-2]),
    ("two", MODELS[:-2] + b"Host: 127.0.0.2\r\n"),
    ("a handshake with two", b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + HOST),
]


@pytest.mark.parametrize(("name", "head"), HOSTS, ids=[name for name, _ in HOSTS])
async def test_a_request_names_one_host(served: Served, name: str, head: bytes) -> None:
    async with peer(served, head + b"\r\n") as each:
        status, body = await each.answer()
        assert (status, orjson.loads(body)["error"]["code"]) == (400, "invalid_request_error")


GARBAGE = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100, b"SSH-2.0-OpenSSH_9.6\r\n", b"GET /\r\n\r\n"]


@pytest.mark.parametrize("said", GARBAGE)
async def test_what_is_not_http_is_told_so_and_leaves_a_quiet_log(
    served: Served, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        async with peer(served, said) as each:
            assert await each.refusal() == (400, "invalid_request_error")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_refused_peer_that_goes_on_sending_can_still_read_why_and_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "LINGER_SECONDS", 0.3)
    async with peer(served, b"NONSENSE\r\n\r\n") as each:
        writing = asyncio.create_task(flood(each, b"x" * 10_000))
        assert (await each.answer())[0] == 400
        async with asyncio.timeout(PATIENCE):
            await writing
    await until(lambda: not served.server.server_state.connections, "nothing is kept")
    assert len(policy(served).table) == 0


async def test_an_upgrade_that_nobody_knows_is_ignored(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with peer(served, MODELS[:-2] + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n") as each:
        assert (await each.answer())[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_node_stops_though_a_refused_peer_lingers(nodes: Nodes) -> None:
    async with AsyncExitStack() as stack:
        async with nodes() as served:
            each = await stack.enter_async_context(peer(served, b"NONSENSE\r\n\r\n"))
            assert (await each.answer())[0] == 400
        assert served.server.server_state.connections == set()
