"""One socket, as its user meets it: turns, lanes, bad input, limits."""

import asyncio
import random
from typing import Any

import orjson
import pytest

from engine.scripted import ScriptedEngine
from server.web.websocket import SocketLimits
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, Event, final, numbered, numbers, said, socket, text_of
from tests.serving import Served
from tests.waiting import until

LIVES: dict[str, Any] = {"input": "still there? [tokens=3]"}


async def test_a_turn_is_numbered_from_zero_and_its_deltas_are_its_text(served: Served) -> None:
    async with socket(served) as peer:
        await peer.ask("hello [tokens=50]")
        events = await peer.turn()
        assert numbers(events) == list(range(len(events)))
        assert events[0]["type"] == "response.created"
        assert events[-1]["type"] == "response.completed"
        assert said(events) == text_of(final(events)) != ""
        assert not any("stream_id" in event for event in events)


async def test_turns_of_one_lane_come_one_after_the_other(served: Served) -> None:
    async with socket(served) as peer:
        for number in range(5):
            await peer.ask(f"{number} [tokens=20]", metadata={"n": str(number)})
        order = [final(await peer.turn())["metadata"]["n"] for _ in range(5)]
        assert order == ["0", "1", "2", "3", "4"]


async def test_lanes_run_at_once_and_name_themselves(nodes: Nodes, slow: ScriptedEngine) -> None:
    slow.rate = 2  # until both run
    async with nodes(slow) as served, socket(served) as peer:
        await peer.ask("[tokens=60]", stream_id="a")
        await peer.ask("[tokens=60]", stream_id="b")
        events = [*await peer.until("response.in_progress"), *await peer.until("response.in_progress")]
        slow.rate = 500
        while sum(event["type"] == "response.completed" for event in events) < 2:
            events.append(await peer.next())
        lanes = [event["stream_id"] for event in events]
        assert set(lanes) == {"a", "b"}
        assert lanes != sorted(lanes)  # interleaved
        for lane in "ab":
            mine = [event for event in events if event["stream_id"] == lane]
            assert numbers(mine) == list(range(len(mine)))


async def test_at_most_sixteen_turns_of_a_connection_run(nodes: Nodes) -> None:
    engine = ScriptedEngine(rate=2, slots=64)
    async with nodes(engine) as served, socket(served) as peer:
        for lane in range(20):
            await peer.ask("[tokens=20]", stream_id=f"l{lane}")
        await until(lambda: len(engine.running) == 16, "sixteen run")
        engine.rate = 200
        done = most = 0
        while done < 20:
            done += (await peer.next())["type"] == "response.completed"
            most = max(most, len(engine.running))
        assert most == 16


async def test_the_thirty_third_lane_is_refused(served: Served) -> None:
    async with socket(served) as peer:
        for lane in range(32):
            await peer.answer("[tokens=1]", stream_id=f"l{lane}")
        await peer.ask("[tokens=1]", stream_id="one-more")
        error = await peer.error()
        assert (error["code"], error["stream_id"]) == ("websocket_stream_limit_reached", "one-more")


async def test_unkept_turns_are_continued_from_the_connections_memory(served: Served) -> None:
    async with socket(served) as peer:
        first = await peer.answer("first [tokens=5]", store=False)
        second = await peer.answer("second [tokens=5]", store=False, previous_response_id=first["id"])
        assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + first["usage"]["output_tokens"]
        await peer.ask("third", store=False, previous_response_id=first["id"])
        assert (await peer.error())["code"] == "previous_response_not_found"
        assert (await peer.answer("[tokens=2]", previous_response_id=second["id"]))["status"] == "completed"


async def test_a_failed_continuation_evicts_what_it_named(served: Served) -> None:
    async with socket(served) as peer:
        first = await peer.answer("first [tokens=5]", store=False)
        await peer.ask("x", store=False, previous_response_id=first["id"], temperature=99)
        assert (await peer.error())["param"] == "temperature"
        await peer.ask("x", store=False, previous_response_id=first["id"])
        assert (await peer.error())["code"] == "previous_response_not_found"


async def test_a_fork_from_another_lane_evicts_nothing(served: Served) -> None:
    async with socket(served) as peer:
        first = await peer.answer("first [tokens=5]", store=False, stream_id="a")
        await peer.ask("x", store=False, previous_response_id=first["id"], temperature=99, stream_id="b")
        assert (await peer.error())["stream_id"] == "b"
        again = await peer.answer("x [tokens=2]", store=False, previous_response_id=first["id"], stream_id="a")
        assert again["status"] == "completed"


async def test_memory_dies_with_its_socket(served: Served) -> None:
    async with socket(served) as peer:
        first = await peer.answer("first [tokens=5]", store=False)
    async with socket(served) as peer:
        await peer.ask("second", previous_response_id=first["id"])
        assert (await peer.error())["code"] == "previous_response_not_found"


async def test_warming_up_says_nothing(served: Served) -> None:
    async with socket(served) as peer:
        await peer.ask("a long text to be read", generate=False)
        events = await peer.turn()
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        assert final(events)["output"] == []
        following = await peer.answer("go [tokens=3]", previous_response_id=final(events)["id"], store=False)
        assert following["usage"]["input_tokens"] > final(events)["usage"]["input_tokens"]


BAD: list[tuple[dict[str, Any], str, str | None]] = [
    ({"type": "nonsense"}, "invalid_request_error", "type"),
    ({}, "missing_required_parameter", "type"),
    ({"type": "response.create"}, "missing_required_parameter", "input"),
    ({"type": "response.create", "input": 7}, "invalid_type", "input"),
    ({"type": "response.create", "input": "x", "model": "gpt-99"}, "model_not_found", "model"),
    ({"type": "response.create", "input": "x", "temperature": "hot"}, "invalid_type", "temperature"),
    ({"type": "response.create", "input": "x", "temperature": 3}, "invalid_value", "temperature"),
    ({"type": "response.create", "input": "x", "top_p": 0}, "invalid_value", "top_p"),
    ({"type": "response.create", "input": "x", "max_output_tokens": 0}, "invalid_value", "max_output_tokens"),
    ({"type": "response.create", "input": "x", "prompt": {"id": "p"}}, "unsupported_parameter", "prompt"),
    ({"type": "response.create", "input": "x", "conversation": "conv_none"}, "not_found", None),
    (
        {"type": "response.create", "input": "x", "previous_response_id": "resp_none"},
        "previous_response_not_found",
        "previous_response_id",
    ),
    ({"type": "response.create", "input": "x", "stream_id": "a b"}, "invalid_stream_id", "stream_id"),
    ({"type": "response.create", "input": "x", "stream_id": ""}, "invalid_stream_id", "stream_id"),
    ({"type": "response.create", "input": "x", "stream_id": "x" * 257}, "invalid_stream_id", "stream_id"),
    ({"type": "response.create", "input": "x", "stream_id": 5}, "invalid_stream_id", "stream_id"),
    ({"type": "throughline:cancel"}, "missing_required_parameter", "response_id"),
    ({"type": "throughline:cancel", "response_id": "resp_none"}, "not_found", None),
    ({"type": "throughline:resume", "response_id": "resp_none"}, "not_found", None),
    (
        {"type": "throughline:resume", "response_id": "r", "starting_after": -1},
        "invalid_request_error",
        "starting_after",
    ),
    ({"type": "throughline:resume", "response_id": "r", "starting_after": "4"}, "invalid_type", "starting_after"),
    (
        {"type": "throughline:resume", "response_id": "r", "starting_after": 2**63},
        "invalid_request_error",
        "starting_after",
    ),
]


async def test_what_is_wrong_is_named_and_the_socket_lives_on(served: Served) -> None:
    async with socket(served) as peer:
        for body, code, param in BAD:
            await peer.socket.send(orjson.dumps(body).decode())
            error = await peer.error()
            assert (error["code"], error["param"]) == (code, param), body
        assert (await peer.answer(**LIVES))["status"] == "completed"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{'a':1}", "[" * 5000, '{"type":' + "[" * 500, "\x00"])
async def test_broken_json_is_an_error_event(served: Served, text: str) -> None:
    async with socket(served) as peer:
        await peer.socket.send(text)
        assert (await peer.error())["status"] == 400
        assert (await peer.answer(**LIVES))["status"] == "completed"


async def test_binary_frames_are_refused(served: Served) -> None:
    async with socket(served) as peer:
        await peer.socket.send(b'{"type":"response.create","input":"x"}')
        assert "Binary" in (await peer.error())["message"]
        assert (await peer.answer(**LIVES))["status"] == "completed"


async def test_the_size_limit_is_exact(nodes: Nodes) -> None:
    async with nodes(max_message_bytes=4096) as served:
        whole = orjson.dumps({"type": "response.create", "input": "[tokens=2]", "user": ""}).decode()
        fits = whole.replace('"user":""', f'"user":"{"u" * (4096 - len(whole))}"')
        async with socket(served) as peer:
            await peer.socket.send(fits)
            assert final(await peer.turn())["status"] == "completed"
            await peer.socket.send(fits + " ")
            assert await peer.closed() == 1009
        async with socket(served) as peer:
            assert (await peer.answer(**LIVES))["status"] == "completed"


def nonsense(random: random.Random, depth: int = 0) -> Any:
    simple: list[Any] = [None, True, 0, -1, 2**53, 1.5, "", "x", "é🙂", "resp_x", [], {}]
    if depth > 2 or random.random() < 0.5:
        return random.choice(simple)
    if random.random() < 0.5:
        return [nonsense(random, depth + 1) for _ in range(random.randrange(4))]
    return {random.choice(["type", "role", "content", "text", "id"]): nonsense(random, depth + 1) for _ in range(3)}


FIELDS = (
    *(
        "input",
        "instructions",
        "conversation",
        "previous_response_id",
        "store",
        "stream_id",
        "generate",
        "stop",
        "seed",
    ),
    *("max_output_tokens", "temperature", "top_p", "top_logprobs", "text", "tools", "tool_choice", "reasoning"),
    *("include", "metadata", "truncation", "min_p", "top_k"),
)


async def test_a_hundred_senseless_requests(served: Served) -> None:
    """Each is answered, by an error or a turn; none breaks the socket, the node or a neighbour."""
    rand = random.Random(7)
    async with socket(served) as peer:
        for number in range(100):
            body = {"type": "response.create", "input": f"{number} [tokens=1]", "max_output_tokens": 2}
            body |= {rand.choice(FIELDS): nonsense(rand) for _ in range(rand.randrange(1, 4))}
            await peer.socket.send(orjson.dumps(body).decode())
            last = (await peer.turn())[-1]
            assert last.get("status") != 500, (body, last)
            assert last["type"] != "response.failed", (body, last)
        assert (await peer.answer(**LIVES))["status"] == "completed"


async def test_a_prompt_that_is_too_long(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(context=400)) as served, socket(served) as peer:
        await peer.ask("x" * 500)
        assert (await peer.error())["code"] == "context_length_exceeded"
        items = [{"role": "user", "content": "x" * 100} for _ in range(6)]
        await peer.ask(items)
        assert (await peer.error())["code"] == "context_length_exceeded"
        cut = await peer.answer([*items, {"role": "user", "content": "the end [tokens=3]"}], truncation="auto")
        assert cut["status"] == "completed"
        assert 100 < cut["usage"]["input_tokens"] < 400
        await peer.ask("x" * 500, truncation="auto")
        assert (await peer.error())["code"] == "context_length_exceeded"


async def test_a_connection_has_an_age(nodes: Nodes) -> None:
    async with nodes() as served:
        served.running.sockets.limits = SocketLimits(age=0.05, tick=0.02)
        async with socket(served) as peer:
            assert (await peer.error())["code"] == "websocket_connection_limit_reached"
            assert await peer.closed() == 1000


async def test_who_sees_nothing_is_told_what_it_waits_for(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(slots=1)) as served:
        served.running.sockets.limits = SocketLimits(quiet=0.05, tick=0.02)
        async with socket(served) as peer:
            await peer.ask("[hang@0]", stream_id="a")
            await peer.until("response.in_progress")
            waiting = await peer.next()
            assert waiting["type"] == "throughline:waiting"
            assert (waiting["reason"], waiting["stream_id"], waiting["sequence_number"]) == ("prefill", "a", 1)
            await peer.ask("[tokens=3]", stream_id="b")
            events = await peer.until("throughline:queue")
            queued = next(event for event in events if event["type"] == "response.queued")
            assert (queued["stream_id"], queued["response"]["status"]) == ("b", "queued")
            assert (events[-1]["position"], events[-1]["stream_id"]) == (1, "b")
            await peer.send("throughline:cancel", response_id=waiting["response_id"])
            events = await peer.until("response.completed")
            assert events[-1]["stream_id"] == "b"


async def test_a_queue_says_how_long_it_takes(nodes: Nodes) -> None:
    engine = ScriptedEngine(slots=1, rate=200)
    async with nodes(engine) as served:
        served.running.sockets.limits = SocketLimits(quiet=0.03, tick=0.01)
        async with socket(served) as peer:
            began = asyncio.get_running_loop().time()
            await peer.answer("[tokens=40]")
            engine.rate = 2  # until both that wait were told
            for lane in "abc":
                await peer.ask("[tokens=40]", stream_id=lane)
            events: list[Event] = []
            while {event["position"] for event in events if event["type"] == "throughline:queue"} != {1, 2}:
                events.append(await peer.next())
            engine.rate = 200
            while len([event for event in events if event["type"] == "response.completed"]) < 3:
                events.append(await peer.next())
            told = [event for event in events if event["type"] == "throughline:queue"]
            assert {event["position"] for event in told} == {1, 2}
            longest = asyncio.get_running_loop().time() - began  # no turn took longer
            assert all(0.1 < event["estimated_seconds"] / event["position"] < longest for event in told)


async def test_a_reader_that_stops_is_closed_and_its_turn_goes_on(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=0)) as served:
        served.running.sockets.limits = SocketLimits(send=0.3, tick=0.05, goodbye=0.1)
        async with socket(served, max_queue=1, close_timeout=0.1) as peer:
            peer.socket.transport.pause_reading()
            await peer.ask("[tokens=30000]", store=True, max_output_tokens=40000)
            await until(lambda: served.node.scheduler.running, "the turn runs")
            ref = next(iter(served.node.scheduler.running))
            await until(lambda: not served.running.sockets.sockets, "the slow reader was given up")
            await until(lambda: not served.node.scheduler.running, "the turn ended")
            stored = await served.node.resources.store.response(ref)
            assert stored is not None
            assert stored.status == "completed"
            peer.socket.transport.resume_reading()


async def test_goodbye_to_a_reader_that_stopped_does_not_hang(nodes: Nodes) -> None:
    async with nodes() as served:
        served.running.sockets.limits = SocketLimits(goodbye=0.1)
        async with socket(served, max_queue=1, close_timeout=0.1) as peer:
            peer.socket.transport.pause_reading()
            await peer.ask("[tokens=30000]", max_output_tokens=40000)
            await until(lambda: any(s.outbound.blocked_since for s in served.running.sockets.sockets), "a send waits")
            async with asyncio.timeout(PATIENCE):
                await served.running.sockets.close(1012, "this node is stopping")
            peer.socket.transport.resume_reading()


async def test_events_of_ours_never_use_up_a_number(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=100)) as served:
        served.running.sockets.limits = SocketLimits(quiet=0.0, tick=0.01)
        async with socket(served) as peer:
            await peer.ask("[tokens=30] [first=0.2]")
            events = await peer.turn()
            assert len(numbered(events)) < len(events)
            assert numbers(events) == list(range(len(numbered(events))))


async def test_a_long_lived_socket_keeps_nothing_of_what_is_over(served: Served) -> None:
    async with socket(served) as peer:
        for number in range(30):
            await peer.answer("[tokens=2]", stream_id=f"l{number % 4}", store=bool(number % 2))
        await peer.send("throughline:resume", response_id="resp_none")
        await peer.error()
        (open,) = served.running.sockets.sockets
        await until(lambda: not open.tasks, "no task is left but the reader's")
        assert open.viewed == {}
        assert open.connection.in_flight == open.connection.waiting == 0
