"""`client.responses.connect()`, async and sync, as its README has it."""

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.resources.responses.responses import AsyncResponsesConnection
from openai.types.responses import ResponsesServerEvent
from openai.types.websocket_reconnection import ReconnectingEvent, ReconnectingOverrides
from pydantic import BaseModel, TypeAdapter

from engine.scripted import ScriptedEngine
from tests.sdk.conftest import made
from tests.server.conftest import Nodes
from tests.serving import Served
from tests.waiting import until

pytestmark = pytest.mark.sdk
ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}
OFFICIAL: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
UNTYPED = {"store"}  # live servers send it in every response; the SDK has no field for it
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


async def turn(connection: AsyncResponsesConnection) -> list[Any]:
    """The events of one turn, each checked against the SDK's own types."""
    events: list[Any] = []
    async with asyncio.timeout(60):
        while not events or events[-1].type not in ENDS:
            raw = await connection.recv_bytes()
            events.append(checked(raw))
            assert connection.parse_event(raw) == events[-1]
    return events


def checked(raw: bytes) -> Any:
    event = OFFICIAL.validate_json(raw)
    assert list(unknown(event)) == []
    return event


def unknown(value: Any, at: str = "") -> Any:
    """Everything that the SDK has no field for."""
    if isinstance(value, BaseModel):
        yield from (f"{at}.{name}" for name in value.model_extra or () if name not in UNTYPED)
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{at}.{name}")
    elif isinstance(value, list):
        for each in value:
            yield from unknown(each, f"{at}[]")


async def test_the_readme_example(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="scripted", input="hello [tokens=20]")
        text = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.completed":
                assert event.response.output_text == text != ""
                break


async def test_the_sync_client(served: Served) -> None:
    def talk() -> list[str]:
        texts: list[str] = []
        with OpenAI(api_key="unused", base_url=served.http) as client, client.responses.connect() as connection:
            previous: dict[str, Any] = {}
            for _ in range(2):
                connection.response.create(model="scripted", input="hello [tokens=20]", **previous)
                for event in connection:
                    if event.type == "response.completed":
                        previous = {"previous_response_id": event.response.id}
                        texts.append(event.response.output_text)
                        break
            whole = client.responses.create(model="scripted", input="hello [tokens=20]")
            texts.append(whole.output_text)
            stream = client.responses.create(model="scripted", input="hello [tokens=20]", stream=True)
            texts.append("".join(each.delta for each in stream if each.type == "response.output_text.delta"))
        return texts

    first, second, third, fourth = await asyncio.to_thread(talk)
    assert first == third == fourth != second


KINDS: list[dict[str, Any]] = [
    {"input": "[tokens=30]"},
    {"input": "[tokens=30] [reasoning=5]", "reasoning": {"effort": "low"}},
    {"input": "[call=weather]", "tools": [TOOL]},
    {"input": "[call=weather,weather]", "tools": [TOOL], "parallel_tool_calls": True},
    {"input": "x", "tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
    {"input": "[tokens=10]", "top_logprobs": 3, "include": ["message.output_text.logprobs"]},
    {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
    {"input": "x", "text": {"format": {"type": "json_object"}}},
    {"input": "[tokens=30]", "max_output_tokens": 5},
    {"input": "[fail@4]"},
    {"input": "[tokens=3]", "metadata": {"a": "b"}, "instructions": "be brief", "store": False, "temperature": 0.5},
    {"input": "[tokens=3]", "generate": False},
    {"input": [{"role": "developer", "content": "x"}, {"role": "user", "content": "[tokens=3]"}]},
]


@pytest.mark.parametrize("ask", KINDS)
async def test_every_event_is_the_sdks_own(client: AsyncOpenAI, ask: dict[str, Any]) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model="scripted", stream_id="lane", **ask)
        events = await turn(connection)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert all(event.stream_id == "lane" for event in events)


async def test_a_queued_turn_and_a_cancelled_one(nodes: Nodes) -> None:
    async with (
        nodes(ScriptedEngine(slots=1)) as served,
        made(served) as client,
        client.responses.connect() as connection,
    ):
        await connection.response.create(model="scripted", input="[hang@3]", stream_id="a")
        events = [checked(await connection.recv_bytes())]
        await connection.response.create(model="scripted", input="[tokens=3]", stream_id="b")
        while events[-1].type != "response.queued":
            events.append(checked(await connection.recv_bytes()))
        stopped = await client.responses.cancel(events[0].response.id)
        assert stopped.status == "cancelled"
        types = [(event.stream_id, event.type) for event in [*await turn(connection), *await turn(connection)]]
        assert ("a", "response.incomplete") in types
        assert types[-1] == ("b", "response.completed")


async def test_lanes_interleave(nodes: Nodes, slow: ScriptedEngine) -> None:
    slow.rate = 50  # neither ends before both have begun
    async with nodes(slow) as served, made(served) as client, client.responses.connect() as connection:
        for lane in ("a", "b"):
            await connection.response.create(model="scripted", input="[tokens=60]", stream_id=lane)
        events = [*await turn(connection), *await turn(connection)]
        lanes = [event.stream_id for event in events]
        assert lanes not in (sorted(lanes), sorted(lanes, reverse=True))


async def test_turns_chain_by_previous_response_id(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        for store in (True, False):
            await connection.response.create(model="scripted", input="one [tokens=3]", store=store)
            first = (await turn(connection))[-1].response
            await connection.response.create(
                model="scripted", input="two [tokens=3]", store=store, previous_response_id=first.id
            )
            second = (await turn(connection))[-1].response
            assert second.previous_response_id == first.id
            assert second.usage.input_tokens > first.usage.total_tokens


ERRORS: list[tuple[dict[str, Any], int, str]] = [
    ({"input": "x", "model": "gpt-99"}, 404, "model_not_found"),
    ({"input": "x", "previous_response_id": "resp_x"}, 400, "previous_response_not_found"),
    ({"input": "x", "conversation": "conv_x"}, 404, "not_found"),
    ({"input": "x", "temperature": 9}, 400, "invalid_value"),
    ({"input": "x", "service_tier": "priority"}, 400, "unsupported_parameter"),
    ({"input": "x" * 200_000}, 400, "context_length_exceeded"),
    ({"input": "x", "stream_id": "not allowed"}, 400, "invalid_stream_id"),
]


@pytest.mark.parametrize(("ask", "status", "code"), ERRORS)
async def test_errors(client: AsyncOpenAI, ask: dict[str, Any], status: int, code: str) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(**{"model": "scripted"} | ask)
        event = await connection.recv()
        assert event.type == "error"
        assert (event.status, event.error.code) == (status, code)
        await connection.response.create(model="scripted", input="[tokens=1]")
        assert (await turn(connection))[-1].type == "response.completed"


async def test_steering_is_refused_in_the_official_words(client: AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.steer(input="left", previous_response_id="resp_x")
        event = checked(await connection.recv_bytes())
        assert (event.type, event.error.code) == ("response.steer.failed", "steering_not_supported")


async def test_the_sdk_resumes_from_its_own_hook(nodes: Nodes, slow: ScriptedEngine) -> None:
    """The node closes every socket with 1012, thrice; the SDK reconnects and asks for the rest."""
    seen: list[Any] = []

    def again(event: ReconnectingEvent) -> ReconnectingOverrides:
        assert event.close_code == 1012
        id = seen[0].response.id
        return {"extra_query": {"resume": id, "starting_after": str(seen[-1].sequence_number)}}

    async with nodes(slow) as served, made(served) as client:
        connecting = client.responses.connect(on_reconnecting=again, initial_delay=0.01)
        async with connecting as connection:
            await connection.response.create(model="scripted", input="[tokens=200]")
            async for event in connection:
                if str(event.type).startswith("throughline:"):
                    continue
                seen.append(event)
                if event.type == "response.completed":
                    break
                if len(seen) in (10, 60, 110):
                    await served.running.sockets.close(1012, "this node is stopping")
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
        assert text == seen[-1].response.output_text
        await until(lambda: not slow.running, "one generation was enough")
