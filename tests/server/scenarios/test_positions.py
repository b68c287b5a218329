"""Where a viewer may begin: every position gets the exact rest or a named error, however it is asked for."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from engine.scripted import Levers, ScriptedEngine
from server.store.redis.client import Client
from server.store.redis.keys import Keys
from server.store.types import HOLE
from tests.server.conftest import Nodes
from tests.server.peer import Event, bearer, client, final, numbered, numbers, said, socket, sse, text_of
from tests.server.scenarios.test_takeover import two
from tests.serving import Served
from tests.waiting import until

Ask = Callable[[Served, str, str], Awaitable[list[Event]]]
NOT_A_NUMBER = [
    "-1",
    "NaN",
    "Infinity",
    "1.5",
    "1e1",
    "0x1",
    " 1",
    "+1",
    "null",
    "true",
    "[]",
    "x",
    f"{2**63}",
    "9" * 99,
]
LAWFUL_JSON = {" 1": 2, "null": 0}  # and the first number that follows


async def by_query(served: Served, id: str, after: str, **options: Any) -> list[Event]:
    async with socket(served, f"?resume={id}&starting_after={quote(after)}", **options) as peer:
        return numbered(await peer.turn())


async def by_event(served: Served, id: str, after: str, **options: Any) -> list[Event]:
    """`after` as it stands, if it is JSON at all."""
    async with socket(served, **options) as peer:
        await peer.socket.send(
            f'{{"type":"throughline:resume","response_id":"{id}","starting_after":{after or "null"}}}'
        )
        return numbered(await peer.turn())


async def by_sse(served: Served, id: str, after: str, **options: Any) -> list[Event]:
    async with client(served, headers=options.get("additional_headers", {})) as http:
        answer = await http.get(f"responses/{id}", params={"stream": "true", "starting_after": after})
        if answer.status_code == 200:
            return sse(answer.text)
        return [{"type": "error", "status": answer.status_code, **answer.json()}]


@pytest.fixture(params=[by_query, by_event, by_sse])
def ask(request: pytest.FixtureRequest) -> Ask:
    form: Ask = request.param
    return form


def code(events: list[Event]) -> str:
    """Of the error that is all there is; SSE has it flat, as the official stream does."""
    (error,) = events
    assert error["type"] == "error", error
    return str(error.get("error", error)["code"])


async def whole(served: Served, input: str = "[tokens=30]") -> list[Event]:
    async with socket(served) as peer:
        await peer.ask(input)
        return numbered(await peer.turn())


async def test_of_a_turn_that_ended(served: Served, ask: Ask) -> None:
    events = await whole(served)
    id, last = final(events)["id"], len(events) - 1
    for after in range(-1, last):
        assert await ask(served, id, "" if after < 0 else str(after)) == events[after + 1 :]
    for after in (last + 1, last + 500, 10**15 - 1):
        lost = await ask(served, id, str(after))
        assert code(lost) == "stream_position_lost"
        assert lost[0]["response"] == final(events)


@pytest.mark.usefixtures("unmerged")
async def test_of_a_turn_that_runs(nodes: Nodes, ask: Ask) -> None:
    """A position that is still to come is waited for, and one that never comes is lost; nothing is generated anew."""
    engine = ScriptedEngine(rate=50)
    async with nodes(engine) as served, socket(served) as peer:
        await peer.ask("[tokens=100]")
        seen = [await peer.next() for _ in range(10)]
        id = seen[0]["response"]["id"]
        near, far = await asyncio.gather(ask(served, id, "20"), ask(served, id, "5000"))
        events = [*seen, *numbered(await peer.turn())]
        assert near == events[21:]
        assert code(far) == "stream_position_lost"


@pytest.mark.parametrize("after", NOT_A_NUMBER)
async def test_that_are_none(served: Served, ask: Ask, after: str) -> None:
    events = await whole(served)
    if ask is by_event and after in LAWFUL_JSON:
        assert await ask(served, final(events)["id"], after) == events[LAWFUL_JSON[after] :]
    else:
        assert code(await ask(served, final(events)["id"], after)) in {"invalid_request_error", "invalid_type"}


async def test_of_somebody_else(nodes: Nodes, ask: Any) -> None:
    async with nodes(api_keys="alice:a,bob:b") as served:
        async with client(served, headers=bearer("a")) as http:
            id = (await http.post("responses", json={"input": "[tokens=3]"})).json()["id"]
        for after in ("", "0", "2", "99"):
            assert code(await ask(served, id, after, additional_headers=bearer("b"))) == "not_found"
            mine = await ask(served, id, after, additional_headers=bearer("a"))
            assert mine[-1]["type"] == ("error" if after == "99" else "response.completed")


async def test_in_a_hole(nodes: Nodes, empty: str) -> None:
    """Redis came back as another one while the owner died: numbers are skipped, and those name no event."""
    async with two(nodes) as (a, b):
        engine = a.engine
        assert isinstance(engine, ScriptedEngine)
        engine.levers = Levers(hang=100)  # it ends at the other node
        async with socket(b) as watcher, socket(a) as peer:
            await peer.ask("[tokens=200]")
            id = (await peer.next())["response"]["id"]
            await watcher.send("throughline:resume", response_id=id)
            seen = await watcher.until_said(50)
            admin = Client(empty)
            await admin.call("HSET", Keys().turn("anonymous", id), "run", "0" * 40)
            await admin.close()
            engine.die("a test killed it")
            events = numbered([*seen, *await watcher.turn()])
        assert said(events) == text_of(final(events))
        steps = [after - before for before, after in zip(numbers(events), numbers(events)[1:], strict=False)]
        edge = steps.index(HOLE + 1)
        assert sorted(steps) == [1] * (len(steps) - 1) + [HOLE + 1]
        below = events[edge]["sequence_number"]
        for form in (by_query, by_event, by_sse):
            for inside in (below + 1, below + HOLE // 2, below + HOLE - 1):
                assert code(await form(b, id, str(inside))) == "stream_position_lost"
            assert await form(b, id, str(below)) == events[edge + 1 :]
            assert await form(b, id, str(below + HOLE + 1)) == events[edge + 2 :]


@pytest.mark.usefixtures("unmerged")
async def test_two_hundred_at_random_while_tokens_come(nodes: Nodes, slow: ScriptedEngine) -> None:
    """What was said and what is being said meet without a seam."""
    rand = random.Random(11)
    marks = sorted(rand.randrange(1, 400) for _ in range(200))
    async with nodes(slow) as served, socket(served) as peer:
        await peer.ask("[tokens=450]")
        events: list[Event] = []
        tries: list[tuple[int, asyncio.Task[list[Event]]]] = []
        while not events or events[-1]["type"] != "response.completed":
            events.append(await peer.next())
            while len(tries) < 200 and marks[len(tries)] <= len(events):
                after = len(events) - 1 if rand.random() < 0.5 else rand.randrange(len(events))
                tries.append((after, asyncio.create_task(some(served, events[0]["response"]["id"], after))))
        assert len(tries) == 200
        for after, task in tries:
            assert await task == events[after + 1 : after + 21]


async def some(served: Served, id: str, after: int) -> list[Event]:
    """Twenty events after a position, or what there is."""
    async with socket(served, f"?resume={id}&starting_after={after}") as peer:
        assert (await peer.next())["type"] == "throughline:resumed"
        events: list[Event] = []
        while len(events) < 20 and not (events and events[-1]["type"] == "response.completed"):
            events.append(await peer.next())
        return events


async def test_one_of_three_viewers_drops_and_comes_back(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served, socket(served) as first:
        await first.ask("[tokens=150]")
        created = await first.next()
        id = created["response"]["id"]
        async with socket(served, f"?resume={id}") as second:
            async with socket(served, f"?resume={id}") as third:
                dropped = numbered([await third.next() for _ in range(30)])
                third.socket.transport.abort()
            rest = await by_query(served, id, str(dropped[-1]["sequence_number"]))
            seen = [[created, *await first.turn()], numbered(await second.turn()), [*dropped, *rest]]
        assert seen[0] == seen[1] == seen[2]
        await until(lambda: not slow.running, "one generation was enough")


async def test_one_key_on_two_nodes_at_once_is_one_generation(nodes: Nodes) -> None:
    async with two(nodes) as (a, b), client(a) as one, client(b) as other:
        for number in range(5):
            body = {"input": "[hang@3]", "background": True, "idempotency_key": f"k{number}"}
            answers = await asyncio.gather(*(http.post("responses", json=body) for http in (one, other) * 3))
            (id,) = {answer.json()["id"] for answer in answers}
            ran = [engine for engine in (a.engine, b.engine) if isinstance(engine, ScriptedEngine) and engine.running]
            assert [len(engine.running) for engine in ran] == [1]
            assert orjson.loads((await one.post(f"responses/{id}/cancel")).content)["status"] == "cancelled"
            await until(lambda: not a.node.scheduler.running and not b.node.scheduler.running, "it ended")
