"""What a node does not do for requests that cannot be admitted, or whose client has left."""

import asyncio
from typing import Any

import pytest

from engine.base import Params, Prompt
from engine.scripted import ScriptedEngine
from server.node.node import Node
from server.store.types import Oversized
from server.turns.preparation import LARGE_AT_ONCE, SMALL_BYTES
from tests.server.conftest import Nodes
from tests.server.peer import client, socket
from tests.serving import Served
from tests.waiting import until

LONG = "x" * 2 * SMALL_BYTES


class HeldEngine(ScriptedEngine):
    """Renders nothing that is long before it is told to."""

    def __init__(self) -> None:
        super().__init__(context=1 << 20)
        self.go_on = asyncio.Event()
        self.rendering = 0  # long chats, now

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        if sum(len(message["content"]) for message in messages) <= SMALL_BYTES:
            return await super().render(messages, params, salt)
        self.rendering += 1
        try:
            await self.go_on.wait()
        finally:
            self.rendering -= 1
        return await super().render(messages, params, salt)


class Loads:
    """Counts histories that are sent to a node."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        store = served.node.resources.store
        history = store.history

        async def counted(*args: Any) -> list[bytes] | Oversized | None:
            found = await history(*args)
            self.count += isinstance(found, list)
            return found

        monkeypatch.setattr(store, "history", counted)


async def long_response(served: Served, engine: HeldEngine) -> str:
    """The id of a response with a long history."""
    engine.go_on.set()
    async with client(served) as http:
        made = (await http.post("responses", json={"input": f"[tokens=1]{LONG}"})).json()
    engine.go_on.clear()
    id: str = made["id"]
    return id


def is_idle(node: Node) -> bool:
    """Nothing is being prepared."""
    preparations = node.resources.preparations
    rooms, bodies = (preparations.small, preparations.large), (preparations.small_bodies, preparations.large_bodies)
    return all(room.is_empty and not room.held for room in rooms) and not any(budget.held for budget in bodies)


async def test_long_histories_are_loaded_few_at_a_time(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an ordinary request does not wait for them."""
    async with nodes(engine := HeldEngine()) as served, socket(served) as many, socket(served) as other:
        previous = await long_response(served, engine)
        loads = Loads(served, monkeypatch)
        for lane in range(8):
            await many.ask("[tokens=1]", previous_response_id=previous, stream_id=f"l{lane}")
        await until(lambda: engine.rendering == LARGE_AT_ONCE, "as many render as may")
        await until(lambda: served.node.resources.preparations.large.waiting == 8 - LARGE_AT_ONCE, "the others wait")
        assert loads.count == LARGE_AT_ONCE
        assert (await other.answer("[tokens=1]"))["status"] == "completed"
        engine.go_on.set()
        ended = 0
        while ended < 8:
            ended += (await many.next())["type"] == "response.completed"
        assert loads.count == 8
        await until(lambda: is_idle(served.node), "all room was given back")


async def test_what_a_socket_asked_for_that_left_is_never_loaded(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(engine := HeldEngine()) as served:
        previous = await long_response(served, engine)
        loads = Loads(served, monkeypatch)
        async with socket(served) as peer:
            for lane in range(8):
                await peer.ask("[tokens=1]", previous_response_id=previous, stream_id=f"l{lane}")
            await until(lambda: served.node.resources.preparations.large.waiting == 8 - LARGE_AT_ONCE, "some wait")
        await until(lambda: is_idle(served.node), "all was given up")
        assert (loads.count, engine.rendering) == (LARGE_AT_ONCE, 0)
        assert not served.node.scheduler.running


@pytest.mark.parametrize("path", ["responses", "responses/input_tokens"])
async def test_what_an_http_client_asked_for_that_left_is_given_up(nodes: Nodes, path: str) -> None:
    async with nodes(engine := HeldEngine()) as served, client(served) as http:
        previous = await long_response(served, engine)
        body = {"input": "[tokens=1]", "previous_response_id": previous}
        asking = asyncio.create_task(http.post(path, json=body))
        await until(lambda: engine.rendering == 1, "it renders")
        asking.cancel()
        await until(lambda: is_idle(served.node), "it was given up")
        assert not engine.rendering


async def test_turns_of_one_conversation_do_not_load_its_history_together(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is admitted, and locks it; the others find that out before they load anything."""
    async with nodes(ScriptedEngine()) as served, client(served) as http, socket(served) as peer:
        items = [{"role": "user", "content": "said before"}]
        conversation = (await http.post("conversations", json={"items": items})).json()["id"]
        loads = Loads(served, monkeypatch)
        for lane in range(8):
            await peer.ask("[hang@1]", conversation=conversation, stream_id=f"l{lane}")
        refused = 0
        while refused < 7:
            event = await peer.next()
            if event["type"] == "error":
                assert event["error"]["code"] == "conversation_locked"
                refused += 1
        assert loads.count == 1
        for ref in list(served.node.scheduler.running):
            await served.running.service.stop(ref)


@pytest.mark.parametrize(("other", "status"), [({}, 200), ({"metadata": {"a": "b"}}, 409)])
async def test_a_repeated_request_finds_its_own_lock(nodes: Nodes, other: dict[str, Any], status: int) -> None:
    """The same key comes again while its first request is being prepared."""
    async with nodes(engine := HeldEngine()) as served, client(served) as http:
        conversation = (await http.post("conversations", json={})).json()["id"]
        body = {"input": f"[tokens=40]{LONG}", "conversation": conversation, "idempotency_key": "k"}
        first = asyncio.create_task(http.post("responses", json=body))
        await until(lambda: engine.rendering == 1, "the first is being prepared")
        second = asyncio.create_task(http.post("responses", json=body | other))
        preparations = served.node.resources.preparations
        await until(lambda: any(room.waiting for room in preparations._conversations.values()), "the second waits")
        engine.go_on.set()
        answers = await asyncio.gather(first, second)
        assert [answer.status_code for answer in answers] == [200, status]
        if status == 200:
            assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_a_request_that_brings_too_much_is_told_to_come_again(nodes: Nodes) -> None:
    async with nodes(engine := HeldEngine(), max_held_bytes=1 << 20) as served, socket(served) as peer:
        await peer.ask(f"[tokens=1]{LONG}", stream_id="a")
        await until(lambda: engine.rendering == 1, "it renders")
        await peer.ask(f"[tokens=1]{LONG}", stream_id="b")
        error = await peer.error()
        assert (error["status"], error["code"]) == (429, "rate_limit_exceeded")
        await peer.ask("[tokens=1]", stream_id="c")
        assert (await peer.until("response.completed"))[-1]["stream_id"] == "c"
        engine.go_on.set()
        assert (await peer.next())["type"] in {"error", "response.created", "response.queued"}
