"""The client against a server that follows a script: what it asks after each way of losing an answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.faults.client import Client, Fragile, Question
from bench.faults.ledger import Ledger, Reference, judge
from bench.wire import OnText, Wire
from tests.bench.test_ledger import REFERENCE, frames
from tests.waiting import until

EVENTS = frames()
HELLO = Question("greeting", "hello")


class Node:
    """Answers each socket with the next line of its script: events, then a close code, or a cut for 0."""

    def __init__(self, *lines: Iterable[dict[str, object] | int]) -> None:
        self.lines = [list(line) for line in lines]
        self.asked: list[dict[str, str]] = []  # query and first frame of each socket
        self.url = ""

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = dict(parse_qsl(urlsplit(socket.request.path).query))
        if "resume" not in query:
            query |= orjson.loads(await socket.recv())
        self.asked.append(query)
        for step in self.lines[len(self.asked) - 1]:
            if isinstance(step, int):
                await (socket.close(step) if step else self._cut(socket))
            else:
                await socket.send(orjson.dumps(step).decode())
        await socket.wait_closed()

    async def _cut(self, socket: ServerConnection) -> None:
        socket.transport.abort()


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Node]:
    async with serve(node.serve, "127.0.0.1", 0, close_timeout=0.2) as server:
        node.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1/responses"
        yield node


async def ask(node: Node, seconds: float = 10.0, make: Callable[[OnText], Wire] = Wire) -> tuple[Ledger, Client]:
    async with serving(node):
        client = Client([node.url], Random(1), make)
        ledger = await client.ask(HELLO, "key", seconds)
        client.disconnect()
        return ledger, client


def error(code: str) -> dict[str, object]:
    return {"type": "error", "status": 503, "error": {"code": code}}


def is_whole(ledger: Ledger) -> bool:
    ledger.stored = ledger.final
    return judge(ledger, REFERENCE).why == ()


async def test_a_question_and_its_answer() -> None:
    ledger, client = await ask(node := Node(EVENTS))
    assert is_whole(ledger)
    assert node.asked == [{"type": "response.create", "input": "hello", "idempotency_key": "key"}]
    assert not client.closes


async def test_a_further_question_names_the_answer_before_it() -> None:
    async with serving(node := Node(EVENTS)):
        client = Client([node.url], Random(1))
        await client.ask(Question("further", "and then?", "resp_0"), "key", 10.0)
        client.disconnect()
    assert (node.asked[0]["input"], node.asked[0]["previous_response_id"]) == ("and then?", "resp_0")


@pytest.mark.parametrize("code", [0, 1012, 1011])
@pytest.mark.parametrize("at", range(1, len(EVENTS)))
async def test_it_resumes_after_the_last_event_it_has(at: int, code: int) -> None:
    ledger, client = await ask(node := Node([*EVENTS[:at], code], EVENTS[at:]))
    assert is_whole(ledger)
    assert node.asked[1] == {"resume": "resp_1", "starting_after": str(at - 1)}
    assert len(ledger.cuts) == 1
    assert dict(client.closes) == {code or 1006: 1}


async def test_a_turn_without_created_is_asked_again_with_the_same_key() -> None:
    ledger, _ = await ask(node := Node([0], EVENTS))
    assert is_whole(ledger)
    assert node.asked[0] == node.asked[1]


@pytest.mark.parametrize("code", ["server_overloaded", "model_loading"])
async def test_it_tries_again_when_it_is_refused(code: str) -> None:
    ledger, _ = await ask(Node([error(code)], EVENTS))
    assert is_whole(ledger)
    assert ledger.refused == [code]


async def test_it_gives_up_when_its_position_is_lost() -> None:
    ledger, _ = await ask(Node([*EVENTS[:3], 0], [error("stream_position_lost")]))
    assert ledger.end == "stream_position_lost"
    assert judge(ledger, REFERENCE).lost


async def test_a_server_that_repeats_itself_is_caught() -> None:
    ledger, _ = await ask(Node([*EVENTS[:4], 0], EVENTS[3:]))
    ledger.stored = ledger.final
    assert judge(ledger, REFERENCE).repeated


async def test_a_server_that_leaves_something_out_is_caught() -> None:
    ledger, _ = await ask(Node([*EVENTS[:3], 0], EVENTS[4:]))
    ledger.stored = ledger.final
    assert judge(ledger, Reference(REFERENCE.text, 3)).lost


async def test_a_silent_server_ends_the_turn_at_its_deadline() -> None:
    ledger, client = await ask(Node(EVENTS[:3]), seconds=0.3)
    assert judge(ledger, REFERENCE).lost == ("no end after number 2",)
    assert client.turn is None


async def test_notices_have_no_sequence_number() -> None:
    notice = {"type": "throughline:waiting", "sequence_number": 2, "reason": "log"}
    ledger, _ = await ask(Node([*EVENTS[:3], notice, *EVENTS[3:]]))
    assert is_whole(ledger)


async def test_an_onlooker_starts_from_the_first_event() -> None:
    async with serving(node := Node([*EVENTS[:2], 0], EVENTS[2:])):
        client = Client([node.url], Random(1))
        ledger = await client.follow("hello", "resp_1", 10.0)
        client.disconnect()
    assert is_whole(ledger)
    assert node.asked == [{"resume": "resp_1"}, {"resume": "resp_1", "starting_after": "1"}]


async def test_a_second_question_goes_over_the_same_socket() -> None:
    async def both(socket: ServerConnection) -> None:
        async for _ in socket:
            for event in EVENTS:
                await socket.send(orjson.dumps(event).decode())

    async with serve(both, "127.0.0.1", 0, close_timeout=0.2) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        client = Client([url], Random(1))
        ledgers = [await client.ask(HELLO, key, 10.0) for key in "ab"]
        assert len(server.connections) == 1
        client.disconnect()
    assert all(map(is_whole, ledgers))


@pytest.mark.parametrize("allowance", [1, 100, 200, 300, 500, 700])
async def test_a_fragile_socket_delivers_what_came_before_the_cut(allowance: int) -> None:
    """Cut wherever it may be, the answer is whole; bytes beyond the cut were never seen."""
    allowances = [allowance]

    def make(on_text: OnText) -> Wire:
        return Fragile(on_text, allowances.pop() if allowances else 1_000_000)

    class Replaying(Node):
        async def serve(self, socket: ServerConnection) -> None:
            assert socket.request is not None
            after = int(dict(parse_qsl(urlsplit(socket.request.path).query)).get("starting_after", -1))
            self.lines.append(EVENTS[after + 1 :])  # type: ignore[arg-type]
            await super().serve(socket)

    ledger, _ = await ask(Replaying(), make=make)
    assert is_whole(ledger)


async def test_cancelling_it_cuts_its_socket() -> None:
    async with serving(node := Node(EVENTS[:3])):
        client = Client([node.url], Random(1))
        asking = asyncio.create_task(client.ask(HELLO, "key", 10.0))
        await until(lambda: client.turn is not None and client.turn.number == 2, "three events have arrived")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert client.turn is None
