"""Connections that take their time, or room, before anybody knows who they are."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import msgspec
import orjson
import pytest

from engine.scripted import ScriptedEngine
from server.web.transport import http_protocol, refusals
from server.web.transport.http_protocol import ConnectionPolicy
from server.web.transport.limits import ConnectionLimits
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, bearer, client, socket, until
from tests.server.raw import HANDSHAKE, raw
from tests.server.scenarios.test_slow_readers import resident
from tests.serving import Served

HOST = b"Host: 127.0.0.1\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/responses HTTP/1.1\r\n" + HOST
KEYS = "alice:secret"
CLIENT = b"X-Forwarded-For: 192.0.2.7\r\n"


def policy(served: Served) -> ConnectionPolicy:
    """What its connections share."""
    found: ConnectionPolicy = served.server.config.http.keywords["policy"]  # type: ignore[union-attr]
    return found


def limit(served: Served, **changes: float) -> None:
    """Change limits of connections that are still to come."""
    table = policy(served).table
    table.limits = msgspec.structs.replace(table.limits, **changes)


class Peer:
    """A connection that says any bytes at all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer. Raises EOFError."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            return int(head.split()[1]), await self.reader.readexactly(int(size.partition(b":")[2]))

    async def refusal(self) -> tuple[int, str]:
        """Status and code of an error, after which the connection ends."""
        status, body = await self.answer()
        assert await self.ended()
        return status, orjson.loads(body)["error"]["code"]

    async def ended(self) -> bool:
        """Whether nothing more comes but the end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def peer(served: Served, said: bytes = b"") -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 20)
    made = Peer(reader, writer)
    await made.write(said)
    try:
        yield made
    finally:
        writer.transport.abort()


async def trickle(each: Peer, data: bytes, pause: float) -> None:
    """One byte after the other, until the server has enough."""
    try:
        for at in range(len(data)):
            await each.write(data[at : at + 1])
            await asyncio.sleep(pause)
    except ConnectionError:
        pass


# -- deadlines -------------------------------------------------------------------------------------------------------

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
    """Twice as long as a trickle would have."""
    limit(served, body_seconds=0.3, body_rate=1000)
    body = orjson.dumps({"input": "[tokens=1]"}).ljust(1000)
    async with peer(served, POST + b"Content-Length: 1000\r\n\r\n") as each:
        for at in range(0, 1000, 100):
            await each.write(body[at : at + 100])
            await asyncio.sleep(0.06)
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


async def flood(each: Peer, data: bytes) -> None:
    """Say it for as long as the server takes it."""
    try:
        while True:
            await each.write(data)
            await asyncio.sleep(0.001)
    except ConnectionError:
        pass


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


# -- sizes -----------------------------------------------------------------------------------------------------------

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


async def test_a_broken_request_does_not_end_in_the_middle_of_an_answer(served: Served) -> None:
    """The peer would take the one for a part of the other."""
    body = orjson.dumps({"input": "[tokens=500]", "stream": True, "max_output_tokens": 1000})
    async with peer(served, POST + b"Content-Length: %d\r\n\r\n" % len(body) + body) as each:
        async with asyncio.timeout(PATIENCE):
            assert (await each.reader.readline()).split()[1] == b"200"
        await each.write(b"NONSENSE\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            try:
                read = await each.reader.read()
            except ConnectionError:
                read = b""
        assert b"HTTP/1.1 400" not in read


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


# -- numbers ---------------------------------------------------------------------------------------------------------


async def test_strangers_are_counted_until_they_are_known(nodes: Nodes) -> None:
    async with nodes(api_keys=KEYS) as served, AsyncExitStack() as stack:
        table = policy(served).table
        await stack.enter_async_context(peer(served))
        await until(lambda: len(table) == 1, "a silent one counts")
        await stack.enter_async_context(socket(served, additional_headers=bearer("secret")))
        async with client(served, headers=bearer("secret")) as http:
            ticket = (await http.post("tickets")).json()["ticket"]
            assert len(table) == 1
        await stack.enter_async_context(socket(served, f"?ticket={ticket}"))
        assert len(table) == 1
        refused = await stack.enter_async_context(peer(served, MODELS))
        assert (await refused.answer())[0] == 401
        assert len(table) == 2
        await refused.write(MODELS[:-2] + b"Authorization: Bearer secret\r\n\r\n")
        assert (await refused.answer())[0] == 200
        assert len(table) == 1
    await until(lambda: len(table) == 0, "nobody is left")


async def test_without_keys_a_whole_head_is_enough(served: Served) -> None:
    async with socket(served), client(served) as http, peer(served):
        assert (await http.get("models")).status_code == 200
        await until(lambda: len(policy(served).table) == 1, "only the silent one counts")


async def test_a_refused_handshake_counts_until_its_connection_is_gone(nodes: Nodes) -> None:
    async with nodes(api_keys=KEYS) as served:
        for _ in range(50):
            async with peer(served, b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + b"\r\n") as each:
                assert (await each.refusal()) == (401, "invalid_api_key")
        await until(lambda: len(policy(served).table) == 0, "nothing is kept")


async def test_a_newcomer_takes_the_place_of_one_that_says_nothing(nodes: Nodes) -> None:
    """As soon as that one has had time for a head; before, the newcomer is told to come again."""
    async with nodes(max_unauthenticated=20) as served, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(peer(served)) for _ in range(20)]
        async with peer(served) as each:
            assert await each.refusal() == (503, "server_overloaded")
        limit(served, evict_seconds=0.0)
        for _ in range(10):
            async with peer(served, MODELS) as each:
                assert (await each.answer())[0] == 200
        assert await silent[0].refusal() == (503, "server_overloaded")
        async with socket(served) as honest:
            assert (await honest.answer("[tokens=2]"))["status"] == "completed"


async def test_an_idle_stranger_gives_way_too_and_is_told_nothing(nodes: Nodes) -> None:
    """It asked for nothing that an error could be the answer to."""
    async with nodes(api_keys=KEYS, max_unauthenticated=1) as served, peer(served, MODELS) as each:
        assert (await each.answer())[0] == 401
        limit(served, evict_seconds=0.0)
        async with peer(served, MODELS) as other:
            assert (await other.answer())[0] == 401
        assert await each.ended()


async def test_clients_behind_a_proxy_are_told_apart(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy itself may have any number of connections; one of its clients may not."""
    async with (
        nodes(api_keys=KEYS, trusted_proxies="127.0.0.1", max_unauthenticated_per_address=2) as served,
        AsyncExitStack() as stack,
    ):
        waiting = [await stack.enter_async_context(peer(served)) for _ in range(10)]
        for each in waiting[:2]:
            await each.write(MODELS[:-2] + CLIENT + b"\r\n")
            assert (await each.answer())[0] == 401
        await waiting[2].write(MODELS[:-2] + b"X-Forwarded-For: 1.1.1.1\r\n" + CLIENT + b"\r\n")
        assert await waiting[2].refusal() == (429, "rate_limit_exceeded")
        await waiting[3].write(MODELS[:-2] + b"X-Forwarded-For: 198.51.100.1\r\n\r\n")
        assert (await waiting[3].answer())[0] == 401
        await waiting[4].write(MODELS[:-2] + CLIENT + b"Authorization: Bearer secret\r\n\r\n")
        assert (await waiting[4].answer())[0] == 200
        handshake = b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + CLIENT
        await waiting[5].write(handshake + b"\r\n")
        assert await waiting[5].refusal() == (429, "rate_limit_exceeded")


async def test_what_a_stranger_says_of_its_address_is_not_believed(nodes: Nodes) -> None:
    async with (
        nodes(api_keys=KEYS, trusted_proxies="10.0.0.0/8", max_unauthenticated_per_address=1) as served,
        AsyncExitStack() as stack,
    ):
        for _ in range(5):
            each = await stack.enter_async_context(peer(served, MODELS[:-2] + CLIENT + b"\r\n"))
            assert (await each.answer())[0] == 401


async def test_many_from_one_network_are_refused(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(max_unauthenticated_per_address=3) as served, AsyncExitStack() as stack:
        addresses = policy(served).addresses
        monkeypatch.setattr(addresses, "peer_network", lambda peer: "192.0.2.0/24")
        for _ in range(3):
            await stack.enter_async_context(peer(served))
        async with peer(served) as each:
            assert await each.refusal() == (429, "rate_limit_exceeded")


async def test_the_last_descriptors_are_not_for_clients(served: Served) -> None:
    limit(served, probe_descriptors=3)
    async with peer(served) as each:
        assert await each.refusal() == (503, "server_overloaded")
    assert len(policy(served).table) == 0
    limit(served, probe_descriptors=ConnectionLimits().descriptors)
    async with peer(served, MODELS) as each:
        assert (await each.answer())[0] == 200


async def test_a_probe_is_answered_with_one_of_the_last_descriptors(served: Served) -> None:
    """Else whoever looks after the node would end it, and with it all that its clients have open."""
    limit(served, descriptors=3)
    for said in (MODELS, b"GET /v1/responses HTTP/1.1\r\n" + HANDSHAKE + b"\r\n"):
        async with peer(served, said) as each:
            assert await each.refusal() == (503, "server_overloaded")
    for path in (b"/healthz", b"/readyz?verbose", b"/metrics"):
        async with peer(served, MODELS.replace(b"/v1/models", path)) as each:
            assert (await each.answer())[0] == 200


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
