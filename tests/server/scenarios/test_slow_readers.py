"""Viewers that stop reading, read too slowly, vanish or shout: their turns go on, and nobody else notices."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import orjson
import pytest

from engine.scripted import ScriptedEngine
from server.protocol.connection import WAITING, Connection
from server.store.types import Turn, TurnRef
from server.web.transport import http_protocol
from server.web.transport import protocols as transport
from server.web.transport.outbound import LINK, Job, Message
from server.web.websocket import SocketLimits
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, Event, client, final, numbered, numbers, said, socket, sse, text_of
from tests.server.raw import PING, PONG, TEXT, Raw, dialled, frame, raw, text
from tests.server.wire import wired
from tests.serving import Served
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("unmerged")

SMALL = 4096  # bytes of a reader's kernel buffer
BOUND = 256 * 1024  # bytes that may wait for one reader
LONG: dict[str, Any] = {"input": "[tokens=20000]", "max_output_tokens": 30000}


def unsent(served: Served) -> int:
    """The most bytes that wait in this process for one client."""
    sizes = (each.transport.get_write_buffer_size() for each in served.server.server_state.connections)
    return max(sizes, default=0)


def narrow(served: Served) -> None:
    """Leave the kernel little room, so that what waits does so in this process."""
    for server in served.server.servers:
        for each in server.sockets:
            each.setsockopt(SOL_SOCKET, SO_SNDBUF, SMALL)


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def rest(served: Served, seen: list[Event]) -> list[Event]:
    """The whole turn, of which these events were seen."""
    id, after = seen[0]["response"]["id"], seen[-1]["sequence_number"]
    async with socket(served, f"?resume={id}&starting_after={after}") as peer:
        return [*seen, *numbered(await peer.turn())]


def check(events: list[Event]) -> None:
    assert numbers(events) == list(range(len(events)))
    assert said(events) == text_of(final(events))
    assert final(events)["status"] == "completed"


async def received(reader: Raw) -> list[Event]:
    """What had been sent before the end."""
    return [orjson.loads(payload) async for opcode, payload in reader.frames() if opcode == TEXT]


async def test_what_waits_for_a_reader_that_stops_is_bounded_and_can_be_resumed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write is taken only while less than 64 KiB wait, and one of several frames has at most 32 KiB."""
    monkeypatch.setattr(transport, "LINGER_SECONDS", 3.0)
    async with nodes(ScriptedEngine(rate=0)) as served:
        narrow(served)
        served.running.sockets.limits = SocketLimits(send=0.5, tick=0.05, goodbye=0.1)
        most = 0
        async with raw(served, buffer=SMALL) as stopped:
            await stopped.say("response.create", **LONG)
            await until(lambda: served.node.scheduler.running, "the turn runs")
            while served.running.sockets.sockets:
                most = max(most, unsent(served))
                await asyncio.sleep(0.001)
            assert 32 * 1024 < most < BOUND
            await until(lambda: not served.node.scheduler.running, "the turn ended")
            check(await rest(served, await received(stopped)))


async def test_thirty_readers_that_stop_cost_little_and_hold_up_nobody(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=2000)) as served, socket(served) as peer:
        narrow(served)
        served.running.sockets.limits = SocketLimits(send=10 * PATIENCE)
        await peer.ask(**LONG | {"input": "[tokens=4000]"})
        created = await peer.next()
        before = resident()
        async with AsyncExitStack() as stack:
            query = f"?resume={created['response']['id']}"
            for _ in range(30):
                await stack.enter_async_context(raw(served, query, buffer=SMALL))
            check(numbered([created, *await peer.turn()]))
            sockets = served.running.sockets.sockets
            await until(
                lambda: sum(each.outbound.blocked_since is not None for each in sockets) == 30, "all are blocked"
            )
            assert resident() - before < 30 * BOUND + 16 * 1024 * 1024  # and the log, and its events at this reader


async def test_a_reader_of_a_trickle_is_cut_and_told_why(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=0)) as served:
        narrow(served)
        served.running.sockets.limits = SocketLimits(send=0.3, tick=0.05, goodbye=10.0)
        async with raw(served, buffer=SMALL) as slow:
            await slow.say("response.create", **LONG)
            await until(lambda: unsent(served) > 32 * 1024, "much waits")
            (open,) = served.running.sockets.sockets
            read = b""
            while not open.outbound.closed:
                read += await slow.reader.read(256)
                await asyncio.sleep(0.005)
            slow.reader._buffer[:0] = read  # type: ignore[attr-defined]  # read again, as frames
            assert await slow.closed() == 1013
        await until(lambda: not served.node.scheduler.running, "the turn ended")


async def test_a_reader_of_sse_that_stops_is_cut_and_can_resume(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel ends the connection, which the web server takes for a client that left."""
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.3)
    async with nodes(ScriptedEngine(rate=0)) as served, client(served) as other:
        narrow(served)
        made = (await other.post("responses", json=LONG | {"background": True})).json()
        at = f"responses/{made['id']}?stream=true"
        plain = await dialled(served.port, SMALL)
        plain.send(f"GET /v1/{at} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await until(lambda: unsent(served) > 32 * 1024, "much waits")
        assert unsent(served) < BOUND
        assert served.node.presence.watched_turns()
        await until(lambda: not served.node.presence.watched_turns(), "nobody looks any more")
        await until(lambda: len(served.server.server_state.connections) < 2, "nothing is kept")
        plain.close()
        check(sse((await other.get(at)).text))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_reader_of_sse_that_is_slow_and_steady_is_served(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """All it reads takes twice as long as a reader may stop."""
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 1.5)
    async with nodes(ScriptedEngine(rate=0)) as served, client(served) as other:
        narrow(served)
        made = (await other.post("responses", json=LONG | {"background": True})).json()
        plain = await dialled(served.port, SMALL)
        plain.send(f"GET /v1/responses/{made['id']}?stream=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        loop = asyncio.get_running_loop()
        began, read, most = loop.time(), 0, 0
        while loop.time() - began < 3.0:
            read += len(await loop.sock_recv(plain, 2048))
            most = max(most, unsent(served))
            await asyncio.sleep(0.01)
        assert 32 * 1024 < most < BOUND
        assert read > BOUND / 4
        assert served.node.presence.watched_turns()
        plain.close()


async def test_a_peer_that_vanished_is_noticed_by_its_silence(nodes: Nodes, slow: ScriptedEngine) -> None:
    """Both ends stay connected and nothing comes through: no FIN, no RST, no pong."""
    slow.rate = 20
    async with nodes(slow) as served, wired(served.port) as wire, socket(served) as neighbour:
        served.server.config.ws_ping_interval, served.server.config.ws_ping_timeout = 1.0, 0.4
        async with raw(served, port=wire.port) as peer:
            await peer.say("response.create", input="[tokens=1500]", max_output_tokens=3000)
            seen = [await peer.event() for _ in range(5)]
            wire.open.clear()
            await until(lambda: len(served.running.sockets.sockets) == 1, "the half-open socket is given up")
            assert served.node.scheduler.running
            slow.rate = 2000
            check(await rest(served, seen))
            assert (await neighbour.answer("still there? [tokens=3]"))["status"] == "completed"


async def test_ten_thousand_messages_are_refused_one_by_one_while_pings_are_answered(nodes: Nodes) -> None:
    count, pings = 10_000, 10
    async with nodes(ScriptedEngine(slots=2)) as served, raw(served) as loud, socket(served) as polite:
        await loud.say("response.create", input="[hang@3]")
        seen = [await loud.event()]
        shouting = asyncio.create_task(shout(loud, count, pings))
        neighbour = asyncio.create_task(polite.answer("[tokens=200]"))
        refused, pongs = 0, list[bytes]()
        while refused < count - WAITING or len(pongs) < pings:
            opcode, payload = await loud.frame()
            if opcode == PONG:
                pongs.append(payload)
            elif opcode == TEXT and (event := orjson.loads(payload))["type"] == "error":
                assert event["error"]["code"] == "rate_limit_exceeded"
                refused += 1
        await shouting
        assert pongs == [str(number).encode() for number in range(pings)]
        assert (await neighbour)["status"] == "completed"
        (open,) = [each for each in served.running.sockets.sockets if each.connection.waiting]
        assert open.connection.waiting == WAITING
        assert len(open.tasks) == 1
        assert {ref.id for ref in served.node.scheduler.running} == {seen[0]["response"]["id"]}


async def shout(loud: Raw, count: int, pings: int) -> None:
    message = text({"type": "response.create", "input": "[tokens=1]"})
    for number in range(pings):
        await loud.write(message * (count // pings), frame(PING, str(number).encode()))


async def test_questions_beside_the_lanes_have_a_quota_too(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    store, answers = served.node.resources.store, asyncio.Event()
    ask = store.turn

    async def late(ref: TurnRef) -> Turn | None:
        await answers.wait()
        return await ask(ref)

    monkeypatch.setattr(store, "turn", late)
    async with socket(served) as peer:
        for _ in range(WAITING + 5):
            await peer.send("throughline:resume", response_id="resp_none")
        assert [(await peer.error())["code"] for _ in range(5)] == ["rate_limit_exceeded"] * 5
        answers.set()
        assert [(await peer.error())["code"] for _ in range(WAITING)] == ["not_found"] * WAITING
        await peer.send("throughline:resume", response_id="resp_none")
        assert (await peer.error())["code"] == "not_found"


class Fake:
    """A web server that writes nothing from an event of one type on; it may have any number of messages at once."""

    def __init__(self, blocks: str = "nothing") -> None:
        self.blocks = blocks
        self.inbox: asyncio.Queue[Event] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.sent: list[str] = []  # texts, and the types of other messages
        self.blocked = False
        self.jobs: list[Job] = []  # that were handed over

    def hand_over(self, job: Job) -> None:
        self.jobs.append(job)

    async def receive(self) -> Message:
        return await self.inbox.get()

    def say(self, **event: Any) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": orjson.dumps(event).decode()})

    async def send(self, message: Any) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        self.sent.append(message["type"])

    def try_write(self, frames: bytes) -> bool:
        texts = list(unframed(frames))
        self.blocked = self.blocked or any(self.blocks in text for text in texts)
        if not self.blocked:
            self.sent += texts
        return not self.blocked

    async def write(self, frames: bytes) -> None:
        await asyncio.Event().wait()

    async def serve(self, served: Served) -> None:
        scope: Event = {"type": "websocket", "headers": [(b"host", b"127.0.0.1")], "query_string": b""}
        scope["extensions"] = {LINK: self}
        await served.running.sockets(scope, self.receive, self.send)
        await self.jobs.pop()()


def unframed(frames: bytes) -> Iterator[str]:
    """The texts of whole frames without a mask."""
    while frames:
        size, head = frames[1], 2
        if size >= 126:
            head = 4 if size == 126 else 10
            size = int.from_bytes(frames[2:head])
        yield frames[head : head + size].decode()
        frames = frames[head + size :]


async def test_the_heartbeat_s_own_words_may_be_what_a_reader_does_not_take(served: Served) -> None:
    served.running.sockets.limits = SocketLimits(quiet=0.0, tick=0.01, send=0.05, goodbye=0.05)
    fake = Fake(blocks="throughline:waiting")
    fake.say(type="response.create", input="[hang@3]")
    async with asyncio.timeout(PATIENCE):
        await fake.serve(served)
    assert fake.blocked
    assert served.node.scheduler.running


async def test_the_last_words_to_an_old_connection_may_be_what_a_reader_does_not_take(served: Served) -> None:
    served.running.sockets.limits = SocketLimits(age=0.0, tick=0.01, send=0.05, goodbye=0.05)
    fake = Fake(blocks="websocket_connection_limit_reached")
    async with asyncio.timeout(PATIENCE):
        await fake.serve(served)
    assert fake.blocked


@pytest.mark.parametrize(("gives_up", "cancels"), [(True, False), (False, True), (True, True)])
async def test_who_is_given_up_ends_well_unless_others_end_it_too(
    served: Served, gives_up: bool, cancels: bool
) -> None:
    serving = asyncio.create_task(Fake().serve(served))
    await until(lambda: served.running.sockets.sockets, "it is there")
    (open,) = served.running.sockets.sockets
    if gives_up:
        open._stop_reading()
    if cancels:
        serving.cancel()
    await asyncio.wait({serving}, timeout=PATIENCE)
    assert (serving.done(), serving.cancelled()) == (True, cancels)
    assert (open.outbound.closed, served.running.sockets.sockets) == (True, set())


async def test_a_reader_that_fails_is_told_of_and_ends(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Connection, "take", lambda *_: 1 / 0)
    fake = Fake()
    fake.say(type="nonsense")
    async with asyncio.timeout(PATIENCE):
        await fake.serve(served)
    assert not served.running.sockets.sockets
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_others_get_a_turn_between_messages_that_came_together(served: Served) -> None:
    fake = Fake()
    for _ in range(500):
        fake.say(type="nonsense")
    serving = asyncio.create_task(fake.serve(served))
    turns = 0
    while len(fake.sent) < 501:
        await asyncio.sleep(0)
        turns += 1
    fake.inbox.put_nowait({"type": "websocket.disconnect"})
    await serving
    assert turns >= 500


async def test_others_get_a_turn_while_a_log_in_memory_is_shown(served: Served) -> None:
    async with socket(served) as peer:
        id = (await peer.answer("[tokens=3000]", max_output_tokens=4000))["id"]
    fake = Fake()
    fake.say(type="throughline:resume", response_id=id)
    serving = asyncio.create_task(fake.serve(served))
    turns: list[int] = []
    while not fake.sent or '"response.completed"' not in fake.sent[-1]:
        await asyncio.sleep(0)
        turns.append(len(fake.sent))
    fake.inbox.put_nowait({"type": "websocket.disconnect"})
    await serving
    most = max(after - before for before, after in pairwise(turns))
    assert len(fake.sent) > 1000
    assert most < 200


@pytest.mark.filterwarnings("error")
async def test_work_that_is_cancelled_before_it_begins_leaves_nothing(served: Served) -> None:
    """As when a connection is reset together with its last message."""
    async with socket(served) as peer:
        await until(lambda: served.running.sockets.sockets, "it is there")
        (open,) = served.running.sockets.sockets
        for type, body in (("response.create", {"input": "hi"}), ("throughline:cancel", {"response_id": "resp_none"})):
            before = set(open.tasks)
            await open._perform(open.connection.receive(orjson.dumps({"type": type, **body}).decode()))
            (begun,) = open.tasks - before
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)
        assert not served.node.scheduler.running
        await peer.send("nonsense")
        assert (await peer.error())["code"] == "invalid_request_error"
