"""Who waits for an answer over HTTP while the node stops."""

import asyncio

from engine.scripted import ScriptedEngine
from server.web.callers import WaitingCallers
from tests.server.conftest import Nodes
from tests.server.peer import client, sse, text_of
from tests.waiting import until

ENDLESS = "[hang@3]"


async def test_a_json_caller_is_told_so_when_the_answer_outlasts_the_drain(nodes: Nodes) -> None:
    async with nodes() as served, client(served) as http:
        asking = asyncio.create_task(http.post("responses", json={"input": ENDLESS}))
        await until(lambda: served.node.scheduler.running, "it runs")
        await served.running.drain(0.2)
        refused = await asking
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "server_overloaded"
    assert "stopping" in refused.json()["error"]["message"]


async def test_a_stream_of_events_ends_with_an_error_that_says_so(nodes: Nodes) -> None:
    async with (
        nodes() as served,
        client(served) as http,
        http.stream("POST", "responses", json={"input": ENDLESS, "stream": True}) as answer,
    ):
        chunks = answer.aiter_text()
        text = await anext(chunks)
        await until(lambda: served.node.scheduler.running, "it runs")
        await served.running.drain(0.2)
        async for chunk in chunks:
            text += chunk
    last = sse(text)[-1]
    assert (last["type"], last["code"]) == ("error", "server_overloaded")
    assert "stopping" in last["message"]


async def test_a_caller_gets_the_whole_answer_of_a_turn_that_another_node_goes_on_with(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=20)) as a, nodes(ScriptedEngine(rate=400)) as b, client(a) as http:
        await until(
            lambda: b.node.owner in a.node.detector.nodes and a.node.owner in b.node.detector.nodes, "both know"
        )
        asking = asyncio.create_task(http.post("responses", json={"input": "[tokens=300]"}))
        await until(lambda: a.node.scheduler.running, "it runs")
        await a.running.drain(60.0)
        answer = await asking
        uncut = await http.get(f"responses/{answer.json()['id']}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert text_of(answer.json()) == text_of(uncut.json())
    assert answer.json()["usage"]["output_tokens"] >= 300


async def test_waiting_ends_with_the_last_of_them() -> None:
    callers, sent = WaitingCallers(), []
    with callers.waiting(lambda: sent.append("away")):
        leaving = asyncio.create_task(callers.leave(3600))
        await asyncio.sleep(0)
        assert not leaving.done()
    await leaving
    assert sent == []
    assert callers.are_sent_away


async def test_who_comes_too_late_is_sent_away_at_once() -> None:
    callers, sent = WaitingCallers(), []
    await callers.leave(0)
    with callers.waiting(lambda: sent.append("away")):
        assert sent == ["away"]
