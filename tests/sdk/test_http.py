"""The HTTP resources of the official SDK."""

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from engine.scripted import ScriptedEngine
from tests.sdk.conftest import made
from tests.sdk.test_websocket import TOOL, unknown
from tests.server.conftest import Nodes

pytestmark = pytest.mark.sdk


async def test_create(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="scripted", input="[tokens=20]")
    assert (response.status, list(unknown(response))) == ("completed", [])
    assert response.output_text
    assert await client.responses.retrieve(response.id) == response


async def test_create_as_a_stream_and_replay_from_anywhere(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model="scripted", input="[tokens=20]", stream=True)
    events = [event async for event in stream]
    assert all(list(unknown(event)) == [] for event in events)
    id = events[0].response.id  # type: ignore[union-attr]
    for after in (0, 1, 5, len(events) - 2):
        replay = await client.responses.retrieve(id, stream=True, starting_after=after)
        assert [event async for event in replay] == events[after + 1 :]


async def test_the_stream_helper(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="scripted", input="[tokens=20]") as stream:
        text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        assert (await stream.get_final_response()).output_text == text != ""


async def test_background_cancel_delete(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine()) as served, made(served) as client:
        running = await client.responses.create(model="scripted", input="[hang@3]", background=True)
        assert running.status == "in_progress"
        assert (await client.responses.cancel(running.id)).status == "cancelled"
        await client.responses.delete(running.id)
        with pytest.raises(openai.NotFoundError) as caught:
            await client.responses.retrieve(running.id)
        assert caught.value.code == "not_found"


async def test_input_items_and_tokens(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model="scripted", input="[tokens=1]", instructions="short")
    items = [item async for item in client.responses.input_items.list(response.id)]
    assert [item.type for item in items] == ["message"]
    counted = await client.responses.input_tokens.count(model="scripted", input="[tokens=1]", instructions="short")
    assert response.usage is not None
    assert counted.input_tokens == response.usage.input_tokens


async def test_models(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["scripted"]
    assert (await client.models.retrieve("scripted")).object == "model"


class Weather(BaseModel):
    """A shape."""

    city: str
    degrees: int


async def test_structured_output_is_parsed(client: AsyncOpenAI) -> None:
    response = await client.responses.parse(model="scripted", input="x", text_format=Weather)
    assert isinstance(response.output_parsed, Weather)


async def test_a_tool_call_and_its_output(client: AsyncOpenAI) -> None:
    asked = await client.responses.create(model="scripted", input="[tokens=3]", tools=[TOOL], tool_choice="required")
    (call,) = asked.output
    assert call.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "20 degrees"}
    told = await client.responses.create(model="scripted", previous_response_id=asked.id, input=[output])
    assert told.output_text


async def test_conversations(client: AsyncOpenAI) -> None:
    first: Any = {"type": "message", "role": "user", "content": "remember the number 7"}
    conversation = await client.conversations.create(items=[first], metadata={"topic": "numbers"})
    assert conversation.metadata == {"topic": "numbers"}
    assert (await client.conversations.retrieve(conversation.id)).created_at == conversation.created_at
    changed = await client.conversations.update(conversation.id, metadata={"topic": "else"})
    assert changed.metadata == {"topic": "else"}
    response = await client.responses.create(model="scripted", input="[tokens=3]", conversation=conversation.id)
    assert response.conversation is not None
    assert response.conversation.id == conversation.id
    items = [item async for item in client.conversations.items.list(conversation.id, order="asc", limit=2)]
    assert [getattr(item, "role", None) for item in items] == ["user", "user", "assistant"]
    added = await client.conversations.items.create(conversation.id, items=[first])
    id = added.data[0].id
    assert id is not None
    one = await client.conversations.items.retrieve(id, conversation_id=conversation.id)
    assert one == added.data[0]
    await client.conversations.items.delete(id, conversation_id=conversation.id)
    assert len([item async for item in client.conversations.items.list(conversation.id)]) == 3
    assert (await client.conversations.delete(conversation.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(conversation.id)


async def test_one_turn_at_a_time_in_a_conversation(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine()) as served, made(served) as client:
        conversation = await client.conversations.create()
        running = await client.responses.create(
            model="scripted", input="[hang@3]", background=True, conversation=conversation.id
        )
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="scripted", input="x", conversation=conversation.id)
        assert caught.value.code == "conversation_locked"
        with pytest.raises(openai.BadRequestError) as caught:
            await client.conversations.delete(conversation.id)
        assert caught.value.code == "conversation_locked"
        await client.responses.cancel(running.id)
        again = await client.responses.create(model="scripted", input="[tokens=2]", conversation=conversation.id)
        assert again.status == "completed"


async def test_api_keys_are_checked(nodes: Nodes) -> None:
    async with nodes(api_keys="alice:secret") as served, made(served) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert (await client.with_options(api_key="secret").models.list()).data


async def test_errors_have_the_sdks_classes(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="gpt-99", input="x")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="scripted", input="x", temperature=9)
    assert (caught.value.param, caught.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_x")


async def test_loading_is_a_server_error_that_the_sdk_retries(nodes: Nodes) -> None:
    async with nodes(load=False) as served, made(served) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.responses.create(model="scripted", input="x")
        assert caught.value.code == "model_loading"
        assert caught.value.response.headers["retry-after"]
