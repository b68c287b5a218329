"""Redis that does not answer, and Redis that is gone: everything follows when it is back, and nothing hangs."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from server.store.errors import Locked, StoreDown
from server.store.types import CreateResult, NewTurn
from tests.redis_server import Server, binary, running
from tests.server.conftest import settled
from tests.server.peer import PATIENCE, client, final, numbered, numbers, said, socket, text_of
from tests.serving import Served, serving, settings_for
from tests.waiting import until


@pytest.fixture
def own_redis() -> Iterator[Server]:
    with running(binary("redis62")) as server:
        yield server


@pytest.fixture
async def node(own_redis: Server) -> AsyncIterator[Served]:
    async with serving(settings_for(own_redis.url), ScriptedEngine(rate=300)) as served:
        yield served
        await settled(served)


@contextmanager
def stalled(server: Server) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


async def ready(served: Served) -> tuple[int, Any]:
    async with client(served) as http:
        answer = await http.get(served.http.removesuffix("/v1") + "/readyz")
        return answer.status_code, answer.json()["redis"]["state"]


async def test_a_stream_goes_on_complete_after_a_stall(own_redis: Server, node: Served) -> None:
    async with socket(node) as peer:
        await peer.ask("[tokens=600]")
        seen = await peer.until("response.output_text.delta")
        with stalled(own_redis):
            await until(lambda: node.node.journal.stalled, "the stall was noticed")
            assert await ready(node) == (503, "stalled")
            await asyncio.sleep(1.2)  # the fault's length, not a wait for a condition
        seen += await peer.turn()
        assert numbers(seen) == list(range(len(numbered(seen))))
        assert said(seen) == text_of(final(seen))
        await until(lambda: not node.node.journal.stalled, "the log flows")
        assert await ready(node) == (200, "ok")


async def test_who_asks_during_a_stall_is_answered_late(own_redis: Server, node: Served) -> None:
    async with socket(node) as peer, client(node) as http:
        conversation = (await http.post("conversations", json={})).json()["id"]
        with stalled(own_redis):
            await peer.ask("[tokens=3]", stream_id="a")
            asking = asyncio.create_task(http.post("responses", json={"input": "[tokens=3]"}))
            within = asyncio.create_task(
                http.post("responses", json={"input": "[tokens=3]", "conversation": conversation})
            )
            await asyncio.sleep(1)  # the fault's length
        assert final(await peer.turn())["status"] == "completed"
        assert (await asking).json()["status"] == "completed"
        assert (await within).json()["status"] == "completed"
        items = (await http.get(f"conversations/{conversation}/items")).json()["data"]
        assert len(items) == 2


async def test_who_asks_while_redis_is_gone_is_told_so(own_redis: Server, node: Served) -> None:
    """And what the client was told not to have asked for never runs."""
    patience, node.node.admission.patience = node.node.admission.patience, 0.2
    async with socket(node) as peer, client(node) as http:
        own_redis.kill()
        await peer.ask("[tokens=3]")
        error = await peer.error()
        assert (error["status"], error["code"]) == (503, "server_overloaded")
        answer = await http.post("responses", json={"input": "[tokens=3]"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_overloaded")
        assert (await http.get("responses/resp_x")).status_code == 503
        assert (await http.get("conversations")).status_code == 503
        for type in ("throughline:cancel", "throughline:resume"):
            await peer.send(type, response_id="resp_x")
            assert (await peer.error())["status"] == 503
        assert (await ready(node))[0] == 503
        own_redis.start()
        node.node.admission.patience = patience
        assert (await peer.answer("[tokens=3]"))["status"] == "completed"
        await until(lambda: not node.node.tasks, "what was refused is withdrawn")
        assert await node.node.resources.store.unfinished_turns(0) == []


async def test_a_refused_turn_that_was_made_all_the_same_is_withdrawn(own_redis: Server, node: Served) -> None:
    patience, node.node.admission.patience = node.node.admission.patience, 0.0
    async with client(node) as http:
        conversation = (await http.post("conversations", json={})).json()["id"]
        with stalled(own_redis):
            asked = {"input": "[tokens=3]", "store": True}
            answer = await http.post("responses", json=asked)
            assert answer.status_code == 503
        await until(lambda: not node.node.tasks, "it was withdrawn")
        assert await node.node.resources.store.unfinished_turns(0) == []
        assert node.node.scheduler.taken_slots == 0
        node.node.admission.patience = patience
        answer = await http.post("responses", json=asked | {"conversation": conversation})
        assert answer.status_code == 200


async def test_a_refused_turn_is_not_made_by_a_call_that_arrives_late(node: Served) -> None:
    """The answer to a first call is missing, the second is refused; the first arrives when the client was told so."""
    store, late = node.node.resources.store, list[NewTurn]()

    async def create(new: NewTurn) -> CreateResult:
        late.append(new)
        if len(late) == 1:
            raise StoreDown("no answer")
        raise Locked("conv_1", "resp_other")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "create", create)
        async with client(node) as http:
            answer = await http.post("responses", json={"input": "[tokens=3]"})
        assert answer.status_code == 400
        await until(lambda: not node.node.tasks, "it was withdrawn")
    await store.create(late[0])
    assert await store.unfinished_turns(0) == []


async def test_a_queued_turn_starts_when_redis_is_back(own_redis: Server) -> None:
    engine = ScriptedEngine(rate=2, slots=1)
    async with serving(settings_for(own_redis.url), engine) as served, socket(served) as peer:
        await peer.ask("[tokens=30]", stream_id="a")
        await peer.until("response.in_progress")
        await peer.ask("[tokens=5]", stream_id="b")
        await peer.until("response.queued")
        with stalled(own_redis):
            await until(lambda: served.node.journal.stalled, "the stall was noticed")
            engine.rate = 300
            await asyncio.sleep(0.5)  # the fault's length
        events = await peer.until("response.completed")
        events += await peer.until("response.completed")
        assert {event["stream_id"] for event in events if event["type"] == "response.completed"} == {"a", "b"}
        await settled(served)


async def test_a_node_that_stops_while_redis_is_gone_does_not_hang(own_redis: Server) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        serving(settings_for(own_redis.url), ScriptedEngine(rate=300)) as served,
        socket(served) as peer,
    ):
        await peer.ask("[tokens=3000]", max_output_tokens=3000)
        await peer.until("response.output_text.delta")
        own_redis.kill()
        for runner in list(served.node.scheduler.running.values()):
            runner.stop()
