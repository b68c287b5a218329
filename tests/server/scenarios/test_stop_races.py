"""Stop and resume at once, and resumes at the ends of a turn: one terminal event, which everybody sees."""

import asyncio
import random
from unittest.mock import Mock

import pytest

from engine.scripted import ScriptedEngine
from server.store.types import Ending, TurnRef, WriteResult
from tests.server.conftest import Nodes
from tests.server.peer import Event, client, final, numbered, numbers, said, socket, text_of
from tests.server.scenarios.test_takeover import two
from tests.serving import Served
from tests.waiting import until

LONG = "[tokens=100000]"
SLOT = 2  # heartbeats of its node from a stop to a free slot


async def resumed(served: Served, id: str, after: int) -> list[Event]:
    async with socket(served, f"?resume={id}&starting_after={after}") as peer:
        return numbered(await peer.turn())


async def stopped(served: Served, id: str) -> Event:
    """By a socket that follows nothing."""
    async with socket(served) as peer:
        await peer.send("throughline:cancel", response_id=id)
        return await peer.next()


def spied(monkeypatch: pytest.MonkeyPatch, holder: object, name: str) -> Mock:
    """Its calls are counted."""
    spy = Mock(wraps=getattr(holder, name))
    monkeypatch.setattr(holder, name, spy)
    return spy


def idle(*nodes: Served) -> bool:
    engines = [node.engine for node in nodes]
    return not any(isinstance(engine, ScriptedEngine) and engine.running for engine in engines)


@pytest.mark.parametrize("seed", range(12))
async def test_stop_races_resume_from_another_node(nodes: Nodes, seed: int) -> None:
    """Twice each, in any order, at any instant: who resumes sees what the one who asked sees."""
    rand = random.Random(seed)
    async with two(nodes, ScriptedEngine(rate=400), ScriptedEngine(rate=400)) as (a, b), socket(a) as peer:
        await peer.ask(LONG, max_output_tokens=200_000)
        events = [await peer.next() for _ in range(rand.randrange(1, 60))]
        id, after = events[0]["response"]["id"], rand.randrange(len(events))
        work = [stopped(b, id), stopped(rand.choice((a, b)), id), resumed(b, id, after), resumed(a, id, after)]
        rand.shuffle(work)
        answers = await asyncio.gather(*work)
        events += numbered(await peer.turn())
        assert numbers(events) == list(range(len(events)))
        assert final(events)["status"] == "cancelled"
        assert said(events) == text_of(final(events))
        seen = [each for each in answers if isinstance(each, list)]
        assert seen == [events[after + 1 :]] * 2
        assert {each["type"] for each in answers if isinstance(each, dict)} == {"throughline:cancelled"}
        await until(lambda: idle(a, b), "no engine works on it")


async def test_a_stop_on_another_node_frees_the_slot_at_once(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in the node's own heartbeats, which a slow machine stretches as it does the rest."""
    waits: list[int] = []
    async with two(nodes) as (a, b), socket(a) as peer, socket(b) as other:
        beats = spied(monkeypatch, a.node.resources.store, "beat")
        for _ in range(20):
            await peer.ask(LONG, max_output_tokens=200_000)
            events = await peer.until("response.output_text.delta")
            beats.reset_mock()
            await other.send("throughline:cancel", response_id=events[0]["response"]["id"])
            await until(lambda: idle(a), "the slot is free")
            waits.append(beats.call_count)
            assert final(await peer.turn())["status"] == "cancelled"
    assert sorted(waits)[len(waits) // 2] <= SLOT


async def test_a_stop_after_the_end_changes_nothing_anywhere(nodes: Nodes) -> None:
    async with two(nodes) as (a, b), socket(a) as peer:
        done = await peer.answer("[tokens=5]")
        for served in (a, b, a):
            assert (await stopped(served, done["id"]))["response"] == done
            assert final(await resumed(served, done["id"], 0)) == done


async def test_resumed_before_the_first_token(nodes: Nodes) -> None:
    """While it waits for a slot: from `created` and from `queued` on."""
    async with nodes(ScriptedEngine(slots=1)) as served, socket(served) as peer, client(served) as http:
        blocking = (await http.post("responses", json={"input": "[hang@1]", "background": True})).json()["id"]
        await until(lambda: served.node.scheduler.running, "the slot is taken")
        await peer.ask("[tokens=5]")
        events = numbered(await peer.until("response.queued"))
        id = final(events)["id"]
        viewers = [asyncio.create_task(resumed(served, id, after)) for after in (0, 1)]
        await until(lambda: len(served.running.sockets.sockets) == 3, "they look")
        await http.post(f"responses/{blocking}/cancel")
        events += numbered(await peer.turn())
        assert numbers(events) == list(range(len(events)))
        assert [await each for each in viewers] == [events[1:], events[2:]]


async def test_resumed_between_the_last_token_and_the_end(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine has said everything, and the end is not written yet."""
    async with nodes(ScriptedEngine(rate=500)) as served, socket(served) as peer:
        store, said_all, go = served.node.resources.store, asyncio.Event(), asyncio.Event()
        finish = store.finish

        async def later(ending: Ending) -> WriteResult:
            said_all.set()
            await go.wait()
            return await finish(ending)

        monkeypatch.setattr(store, "finish", later)
        await peer.ask("[tokens=30]")
        events = [await peer.next()]
        id = events[0]["response"]["id"]
        await said_all.wait()
        turn = await store.turn(TurnRef("anonymous", id))
        assert turn is not None
        while events[-1]["sequence_number"] < turn.last_seq:
            events.append(await peer.next())
        viewers = [asyncio.create_task(resumed(served, id, after)) for after in (turn.last_seq, 0)]
        await until(lambda: len(served.running.sockets.sockets) == 3, "they look")
        go.set()
        events += numbered(await peer.turn())
        assert [await each for each in viewers] == [events[turn.last_seq + 1 :], events[1:]]
        assert said(events) == text_of(final(events))
        assert [event["type"] for event in events].count("response.completed") == 1
