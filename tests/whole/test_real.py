"""vLLM, the demo model, Redis and the clients people use, together."""

import asyncio
import json
import re
import urllib.request
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.whole.client import connected, numbers, said
from tests.whole.process import ROOT, Program

pytestmark = [pytest.mark.vllm, pytest.mark.redis]


async def test_an_answer_is_streamed_in_numbered_events(real: Program) -> None:
    async with connected(real.ws) as client:
        await client.create("Tell me a story about a fox.", temperature=0)
        events = await client.events()
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert said(events) == events[-1]["response"]["output"][0]["content"][0]["text"]
    assert len(said(events)) > 100
    assert events[-1]["response"]["usage"]["output_tokens"] > 30


async def test_the_model_is_told_what_was_said_before(real: Program) -> None:
    async with connected(real.ws) as client:
        await client.create("My name is Anna.", temperature=0)
        first = (await client.events())[-1]["response"]["id"]
        await client.create("What is my name?", previous_response_id=first, temperature=0)
        assert "Anna" in said(await client.events())


def test_every_line_of_the_log_is_an_object(real: Program) -> None:
    """What libraries print beside it, about themselves, would break whatever reads the log."""
    lines = [json.loads(line) for line in real.output().splitlines()]
    assert {"listening", "ready"} <= {line["event"] for line in lines}


@pytest.mark.sdk
def test_the_python_example_of_the_readme_runs_as_it_stands(real: Program, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    exec(compile(code.replace("http://127.0.0.1:8000", real.http), "README.md", "exec"), {})
    assert len(capsys.readouterr().out) > 100


@pytest.mark.sdk
async def test_concurrent_streams_of_the_official_client_are_all_whole(real: Program) -> None:
    client = AsyncOpenAI(base_url=f"{real.http}/v1", api_key="none")

    async def one(number: int) -> None:
        text = ""
        final = None
        question = f"My name is Anna. Count to {number}."
        stream = await client.responses.create(input=question, max_output_tokens=64, stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type in {"response.completed", "response.incomplete"}:
                final = event.response
        assert final is not None
        assert final.output_text == text

    await asyncio.gather(*(one(number) for number in range(3, 35)))
    await client.close()


@pytest.mark.sdk
def test_a_json_schema_is_kept(real: Program) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 10}},
        "required": ["name"],
        "additionalProperties": False,
    }
    client = OpenAI(base_url=f"{real.http}/v1", api_key="none")
    response = client.responses.create(
        model="throughline-demo",
        input="My name is Anna.",
        text={"format": {"type": "json_schema", "name": "person", "schema": schema, "strict": True}},
    )
    assert set(json.loads(response.output_text)) == {"name"}


async def test_a_prompt_that_is_too_long_is_refused_and_the_engine_lives_on(real: Program) -> None:
    async with connected(real.ws) as client:
        await client.create("word " * 20_000)
        (error,) = await client.events()
        assert error["error"]["code"] == "context_length_exceeded"
        await client.create("Hello!", temperature=0)
        assert (await client.events())[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 9), ("top_p", 2), ("top_k", -7), ("stop", [""]), ("max_output_tokens", 0), ("top_logprobs", 99)],
)
async def test_a_parameter_out_of_range_is_named(real: Program, field: str, value: object) -> None:
    async with connected(real.ws) as client:
        await client.create("Hello!", **{field: value})
        (error,) = await client.events()
        assert (error["status"], error["error"]["param"]) == (400, field)


def test_metrics_count_what_was_said(real: Program) -> None:
    with urllib.request.urlopen(real.http + "/metrics", timeout=30) as answer:
        text = answer.read().decode()
    assert "gen_ai_server_time_to_first_token" in text
    assert re.search(r"throughline_tokens_total\{.*output.*\} [1-9]", text)


def test_each_turn_is_one_line_of_the_log(real: Program) -> None:
    lines = [json.loads(line) for line in Path(real.folder / "output").read_text().splitlines() if line.startswith("{")]
    turns = [line for line in lines if line["event"] == "turn"]
    assert len(turns) == len({turn["response_id"] for turn in turns}) > 0
    assert {"ttft_ms", "tokens_per_s", "finish", "trace_id", "queue_ms"} <= turns[-1].keys()
