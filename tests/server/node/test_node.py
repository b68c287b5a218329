"""Turns in slots and in the queue: admitted, run, stopped, failed, asked for twice."""

import asyncio
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from server.protocol import errors
from tests.server.conftest import Nodes
from tests.server.peer import Event, client, final, said, socket, text_of
from tests.serving import Served
from tests.waiting import until


async def test_slots_are_never_exceeded_and_the_queue_is_fair(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred at once in four slots: all end, in the order in which they were asked."""
    engine = ScriptedEngine(slots=4)
    most = 0
    started: list[str] = []
    generate = engine.generate

    def counted(id: str, *arguments: Any) -> Any:
        nonlocal most
        started.append(id.rpartition("-")[0])
        most = max(most, len(engine.running) + 1)
        return generate(id, *arguments)

    monkeypatch.setattr(engine, "generate", counted)
    async with nodes(engine) as served, client(served) as http:
        ask = {"input": "[tokens=4]", "background": True}
        made = [(await http.post("responses", json=ask)).json() for _ in range(20)]
        more = await asyncio.gather(*(http.post("responses", json=ask) for _ in range(180)))
        assert all(answer.status_code == 200 for answer in more)
        await until(lambda: not served.node.scheduler.running and not served.node.scheduler.queue, "all ended")
        assert most <= 4
        assert len(started) == 200
        assert started[:20] == [each["id"] for each in made]


async def test_a_full_queue_refuses_with_a_time(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(slots=1), max_queue=1) as served, socket(served) as peer, client(served) as http:
        await peer.ask("[hang@0]", stream_id="a")
        await peer.until("response.in_progress")
        await peer.ask("[hang@0]", stream_id="b")
        queued = (await peer.until("response.queued"))[0]["response"]["id"]
        await peer.ask("[hang@0]", stream_id="c")
        error = await peer.error()
        assert (error["status"], error["code"], error["stream_id"]) == (503, "server_overloaded", "c")
        assert int(error["headers"]["retry-after"]) >= 1
        answer = await http.post("responses", json={"input": "x"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, error["headers"]["retry-after"])
        await peer.send("throughline:cancel", response_id=queued)
        assert final(await peer.turn())["status"] == "cancelled"
        assert len(served.node.scheduler.running) == 1


STAGES = ["[first=30]", "[hang@1]", "[hang@40]"]


@pytest.mark.parametrize("ask", STAGES)
@pytest.mark.parametrize("how", ["same", "other", "http"])
async def test_cancel_at_every_stage(nodes: Nodes, ask: str, how: str) -> None:
    engine = ScriptedEngine(rate=0)
    async with nodes(engine) as served, socket(served) as peer, socket(served) as other, client(served) as http:
        await peer.ask(ask)
        seen = await peer.until("response.in_progress")
        await until(lambda: engine.running, "it runs")
        id = seen[0]["response"]["id"]
        for _ in range(2):
            if how == "http":
                assert (await http.post(f"responses/{id}/cancel")).json()["status"] == "cancelled"
            else:
                await (peer if how == "same" else other).send("throughline:cancel", response_id=id)
        seen += [event for event in await peer.turn() if event["type"] != "throughline:cancelled"]
        assert final(seen)["status"] == "cancelled"
        assert said(seen) == text_of(final(seen))
        assert sum(event["type"] == "response.incomplete" for event in seen) == 1
        assert not engine.running


async def test_cancel_in_the_queue_costs_no_slot(nodes: Nodes) -> None:
    engine = ScriptedEngine(slots=1)
    async with nodes(engine) as served, socket(served) as peer, client(served) as http:
        await peer.ask("[hang@0]", stream_id="a")
        await peer.until("response.in_progress")
        await peer.ask("x", stream_id="b")
        id = (await peer.until("response.queued"))[0]["response"]["id"]
        assert (await http.post(f"responses/{id}/cancel")).json()["status"] == "cancelled"
        assert len(engine.running) == 1
        events = await peer.turn()
        assert events[-1]["type"] == "response.incomplete"


async def test_thousands_of_cancels_leave_no_slot_behind(nodes: Nodes) -> None:
    engine = ScriptedEngine(slots=8, rate=2000)
    async with nodes(engine) as served, client(served) as http:

        async def one(number: int) -> str:
            made = (await http.post("responses", json={"input": f"{number} [tokens=50]", "background": True})).json()
            if number % 3:
                await asyncio.sleep(0)
            ended: Event = (await http.post(f"responses/{made['id']}/cancel")).json()
            return str(ended["status"])

        statuses = await asyncio.gather(*(one(number) for number in range(200)))
        assert set(statuses) <= {"cancelled", "completed"}
        await until(lambda: served.node.scheduler.taken_slots == 0, "every slot is free")


async def test_one_key_is_one_turn(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served, client(served) as http:
        ask = {"input": "[tokens=50]", "idempotency_key": "k"}
        answers = await asyncio.gather(*(http.post("responses", json=ask) for _ in range(10)))
        assert len({answer.json()["id"] for answer in answers}) == 1
        other = await http.post("responses", json=ask | {"input": "else"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
        header = await http.post("responses", json={"input": "[tokens=50]"}, headers={"idempotency-key": "k"})
        assert header.json() == answers[0].json()


async def test_a_repeated_request_does_not_need_its_history_again(served: Served) -> None:
    """A client that saw no `response.created` asks again, on a socket that does not know what it continues."""
    ask: dict[str, Any] = {"store": False, "idempotency_key": "k"}
    async with socket(served) as peer:
        first = await peer.answer("one [tokens=3]", store=False)
        second = await peer.answer("two [tokens=3]", previous_response_id=first["id"], **ask)
    async with socket(served) as peer:
        again = await peer.answer("two [tokens=3]", previous_response_id=first["id"], **ask)
        assert again == second


@pytest.mark.parametrize("ask", ["[fail@0]", "[fail@7]"])
async def test_a_turn_that_fails_says_so_and_keeps_what_was_said(nodes: Nodes, ask: str) -> None:
    async with nodes(ScriptedEngine()) as served, socket(served) as peer:
        await peer.ask(ask)
        events = await peer.turn()
        assert events[-1]["type"] == "response.failed"
        failed = final(events)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
        assert said(events) == text_of(failed)


async def test_an_error_that_nobody_thought_of(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine()

    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(engine, "generate", broken)
    async with nodes(engine) as served, socket(served) as peer:
        failed = await peer.answer("x")
        assert failed["status"] == "failed"
        assert "secret" not in str(failed)


async def test_rendering_that_breaks_is_an_error_and_no_turn(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine()

    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(engine, "render", broken)
    async with nodes(engine) as served, socket(served) as peer:
        await peer.ask("x")
        error = await peer.error()
        assert (error["status"], error["code"]) == (500, "server_error")
        assert "secret" not in str(error)
        assert (served.node.scheduler.taken_slots, served.node.scheduler.running) == (0, {})


async def test_an_answer_that_is_cut_by_its_limit(served: Served) -> None:
    async with socket(served) as peer:
        await peer.ask("[tokens=50]", max_output_tokens=10)
        events = await peer.turn()
        assert events[-1]["type"] == "response.incomplete"
        assert final(events)["incomplete_details"] == {"reason": "max_output_tokens"}
        assert final(events)["usage"]["output_tokens"] == 10


async def test_an_unkept_turn_that_nobody_watches_ends(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=0)) as served:
        served.node.presence.grace = 0.05
        async with socket(served) as peer:
            await peer.ask("[hang@3]", store=False, stream_id="a")
            await peer.ask("[hang@3]", store=True, stream_id="b")
            await until(lambda: len(served.node.scheduler.running) == 2, "both run")
        await until(lambda: len(served.node.scheduler.running) == 1, "the unkept one was cancelled")
        (left,) = served.node.scheduler.running.values()
        assert left.spec.response["store"] is True


async def test_an_unkept_turn_that_is_watched_again_in_time_goes_on(nodes: Nodes) -> None:
    engine = ScriptedEngine(rate=5)
    async with nodes(engine) as served:
        loop = asyncio.get_running_loop()
        served.node.presence.grace = 2.0
        async with socket(served) as peer:
            await peer.ask("[tokens=80]", store=False)
            id = (await peer.next())["response"]["id"]
        await until(lambda: not served.node.presence.watched_turns(), "nobody watches")
        left = loop.time()
        async with socket(served, f"?resume={id}&starting_after=0") as peer:
            await peer.until("response.output_text.delta")
            await until(lambda: loop.time() > left + 2.5, "it would have been given up")
            engine.rate = 0
            assert final(await peer.turn())["status"] == "completed"


async def test_a_socket_that_leaves_during_admission_leaves_no_lock(nodes: Nodes) -> None:
    """Whatever happens to the asking, the conversation is usable afterwards."""
    async with nodes(ScriptedEngine()) as served, client(served) as http:
        conversation = (await http.post("conversations", json={})).json()["id"]
        for _ in range(10):
            async with socket(served) as peer:
                await peer.ask("[tokens=2]", conversation=conversation)
        await until(lambda: not served.node.scheduler.running and not served.node.tasks, "all ended")
        answer = await http.post("responses", json={"input": "[tokens=2]", "conversation": conversation})
        assert answer.status_code == 200


async def test_a_turn_in_a_conversation_knows_all_before_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another turn ends, on another node, between the reading of the history and the admission."""
    async with nodes(ScriptedEngine()) as served, nodes(ScriptedEngine()) as other, client(served) as http:
        conversation = (await http.post("conversations", json={})).json()["id"]
        store = served.node.resources.store
        create, turns = store.create, 0

        async def slower(new: Any) -> Any:
            nonlocal turns
            turns += 1
            if turns == 1:
                inner = {"input": "between [tokens=3]", "conversation": conversation}
                async with client(other) as there:
                    assert (await there.post("responses", json=inner)).status_code == 200
            return await create(new)

        monkeypatch.setattr(store, "create", slower)
        outer = await http.post("responses", json={"input": "[tokens=3]", "conversation": conversation})
        items = (await http.get(f"conversations/{conversation}/items", params={"order": "asc"})).json()["data"]
        texts = [item["content"][0]["text"] for item in items]
        assert texts[0] == "between [tokens=3]"
        assert texts[2] == "[tokens=3]"
        seen = sum(len(text.encode()) for text in texts[:3])
        assert outer.json()["usage"]["input_tokens"] > seen


async def test_while_the_model_loads(nodes: Nodes) -> None:
    async with nodes(load=False) as served, socket(served) as peer, client(served) as http:
        await peer.ask("x")
        error = await peer.error()
        assert (error["status"], error["code"]) == (503, "model_loading")
        assert error["headers"]["retry-after"]
        answer = await http.post("responses", json={"input": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
        assert answer.headers["retry-after"]
        ready = await http.get(served.http.removesuffix("/v1") + "/readyz")
        assert (ready.status_code, ready.json()["engine"]["state"]) == (503, "loading")
        assert ready.json()["engine"]["seconds"] >= 0
        await served.node.load()
        assert (await peer.answer("[tokens=1]"))["status"] == "completed"
        assert (await http.get(served.http.removesuffix("/v1") + "/readyz")).status_code == 200


async def test_a_model_that_failed(nodes: Nodes) -> None:
    async with nodes(load=False) as served, socket(served) as peer, client(served) as http:
        served.node.fail("no such file")
        await peer.ask("x")
        assert (await peer.error())["code"] == errors.overloaded("").code
        ready = (await http.get(served.http.removesuffix("/v1") + "/readyz")).json()
        assert (ready["status"], ready["engine"]["error"]) == ("failed", "no such file")


async def test_turns_that_take_too_much_memory_are_refused_with_a_time(nodes: Nodes) -> None:
    """Half of `MAX_HELD_BYTES` is for turns, and half of that for each caller; an ended one gives its part back."""
    async with nodes(ScriptedEngine(slots=1), max_held_bytes=1 << 20) as served, socket(served) as peer:
        await peer.ask("[hang@0]" + "x" * 5000, stream_id="a")
        running = (await peer.until("response.in_progress"))[0]["response"]["id"]
        await peer.ask("[hang@0]" + "x" * 5000, stream_id="b")
        error = await peer.error()
        assert (error["status"], error["code"], error["stream_id"]) == (429, "rate_limit_exceeded", "b")
        assert error["headers"] == {"retry-after": "1"}
        await peer.send("throughline:cancel", response_id=running)
        assert final(await peer.turn())["status"] == "cancelled"
        await until(lambda: not served.node.scheduler.budget.held, "all is given back")
        assert (await peer.answer("[tokens=1]" + "x" * 5000, stream_id="b"))["status"] == "completed"
