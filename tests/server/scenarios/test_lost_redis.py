"""Redis comes back without what it had acknowledged, while those who wrote it live: nobody sees it."""

import asyncio
from unittest.mock import Mock

import httpx2
import pytest

from engine.scripted import ScriptedEngine
from server.store.redis.client import Client
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, Event, client, final, numbered, numbers, said, socket, sse, text_of
from tests.serving import Served
from tests.waiting import until

ASK = "[tokens=400]"
SLOW = 60  # tokens per second until Redis has lost them: the answer is not over by then


async def flush(url: str) -> None:
    admin = Client(url)
    await admin.call("FLUSHALL")
    await admin.close()


async def gone_and_on(served: Served, engine: ScriptedEngine, url: str) -> dict[str, object]:
    """Empties Redis in the middle of an answer; the finished response."""
    async with socket(served) as peer:
        await peer.ask(ASK)
        first = await peer.next()
        id = first["response"]["id"]
        async with socket(served, f"?resume={id}") as other:
            seen = await other.until_said(100)
            await flush(url)
            engine.rate = 300
            seen += await other.turn()
        mine = [first, *await peer.turn()]
    for events in (numbered(seen), numbered(mine)):
        assert numbers(events) == list(range(len(events)))
        assert said(events) == text_of(final(events))
    async with socket(served, f"?resume={id}") as again:
        events = numbered(await again.turn())
        assert (numbers(events), said(events)) == (list(range(len(events))), said(mine))
    response: dict[str, object] = final(mine)
    return response


async def test_an_empty_redis_is_given_the_whole_log_again(nodes: Nodes, empty: str) -> None:
    engine = ScriptedEngine(rate=SLOW)
    async with nodes(engine) as served:
        assert (await gone_and_on(served, engine, empty))["status"] == "completed"


async def test_a_turn_that_was_taken_over_too(nodes: Nodes, empty: str) -> None:
    """Its question is gone with Redis: who continues it is told so."""
    first, second = ScriptedEngine(rate=SLOW), ScriptedEngine(rate=SLOW)
    async with nodes(first) as a, nodes(second) as b, socket(b) as peer:
        await until(lambda: b.node.owner in a.node.detector.nodes, "they know each other")
        async with socket(a) as asking:
            await asking.ask(ASK)
            id = (await asking.next())["response"]["id"]
            first.die("a test killed it")
            await until(lambda: b.node.scheduler.running, "the other one goes on")
        async with socket(b, f"?resume={id}") as viewer:
            seen = await viewer.until("response.output_text.delta")
            await flush(empty)
            second.rate = 300
            seen += await viewer.turn()
        assert numbers(seen) == list(range(len(numbered(seen))))
        assert said(seen) == text_of(final(seen))
        await peer.ask("[tokens=3]", previous_response_id=id)
        assert (await peer.error())["code"] == "previous_response_not_found"


async def test_again_and_again(nodes: Nodes, empty: str) -> None:
    engine = ScriptedEngine(rate=SLOW)
    async with nodes(engine) as served, socket(served) as peer:
        await peer.ask(ASK)
        events = await peer.until_said(20)
        for _ in range(3):
            await flush(empty)
            events += await peer.until_said(60)
        engine.rate = 300
        events = numbered([*events, *await peer.turn()])
        assert numbers(events) == list(range(len(events)))
        assert said(events) == text_of(final(events))


async def test_who_comes_back_before_the_owner_has_given_it_back_waits(nodes: Nodes, empty: str) -> None:
    """Between two tokens nobody writes, so Redis stays empty for a while."""
    async with nodes(ScriptedEngine(rate=2)) as served, client(served) as http:
        async with socket(served) as peer:
            await peer.ask("[tokens=4]")
            seen = await peer.until("response.output_text.delta")
        await flush(empty)
        place = f"starting_after={seen[-1]['sequence_number']}"
        id = seen[0]["response"]["id"]
        by_http = asyncio.create_task(http.get(f"responses/{id}?stream=true&{place}"))
        async with socket(served, f"?resume={id}&{place}") as peer:
            events = numbered([*seen, *await peer.turn()])
        assert numbers(events) == list(range(len(events)))
        rest = [event for event in sse((await by_http).text) if event["type"] != "[DONE]"]
        assert numbers([*seen, *rest]) == numbers(events)


async def test_who_never_was_is_not_found(nodes: Nodes) -> None:
    async with nodes() as served, socket(served) as peer:
        await peer.send("throughline:resume", response_id="resp_x", starting_after=3)
        assert (await peer.error())["code"] == "not_found"


async def contents(url: str) -> list[tuple[bytes, int, bytes]]:
    """Everything in Redis: key, lifetime in milliseconds, value."""
    admin = Client(url)
    keys = await admin.call("KEYS", "*")
    found = [(key, await admin.call("PTTL", key), await admin.call("DUMP", key)) for key in keys]
    await admin.close()
    return [each for each in found if each[2] is not None]


async def restore(url: str, before: list[tuple[bytes, int, bytes]]) -> None:
    """As if Redis had lost all since then."""
    admin = Client(url)
    await admin.call("FLUSHALL")
    for key, life, value in before:
        await admin.call("RESTORE", key, max(life, 1), value)
    await admin.close()


@pytest.mark.parametrize("empty_again", [False, True])
async def test_a_finished_turn_that_redis_forgot_is_not_written_anew(
    nodes: Nodes, empty: str, monkeypatch: pytest.MonkeyPatch, empty_again: bool
) -> None:
    """Its end is written once more, by the node that wrote it; no engine runs it again."""
    engine = ScriptedEngine(rate=1)
    async with nodes(engine) as served, socket(served) as peer, client(served) as http:
        await peer.ask("[tokens=60]")
        seen = await peer.until("response.output_text.delta")
        before = [] if empty_again else await contents(empty)
        engine.rate = 300
        seen += await peer.turn()
        id = final(seen)["id"]
        generate = Mock(wraps=engine.generate)
        monkeypatch.setattr(engine, "generate", generate)
        await restore(empty, before)
        assert text_of(await completed(http, id)) == said(seen)
        async with socket(served, f"?resume={id}") as again:
            events = numbered(await again.turn())
        assert numbers(events) == numbers(seen)
        await asyncio.sleep(2.2)  # two sweeps, in which nothing may happen
        assert not generate.called


async def completed(http: httpx2.AsyncClient, id: str) -> Event:
    async with asyncio.timeout(PATIENCE):
        while True:
            response: Event = (await http.get(f"responses/{id}")).json()
            if response.get("status") == "completed":
                return response
            await asyncio.sleep(0.02)
