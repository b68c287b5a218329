"""Function calls of the real engine, held to their schemas by it."""

import json
import os
import subprocess
import sys
from typing import Any

import jsonschema
import pytest

from engine.vllm.process import SOCKETS
from tests.engine.real import require_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


def function(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": object_of(properties)}


def object_of(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


AT = object_of({"at": {"enum": ["Bern", "Basel"]}, "zoom": {"type": "integer", "minimum": 1, "maximum": 9}})
OK = object_of({"ok": {"type": "boolean"}})
SAID = object_of({"said": {"enum": ["yes", "no"]}})
LOOK: dict[str, Any] = {"type": "function", "name": "look", "parameters": AT}
ASK: dict[str, Any] = {"type": "function", "name": "ask", "parameters": OK}
BAD = function("bad", {"a": {"not": {}}})
BROKEN = function("broken", {"a": {"type": "string", "pattern": "^(a"}})
GO = {"type": "function", "name": "go"}
FORMAT = {"type": "json_schema", "schema": SAID}
ONE = {"parallel_tool_calls": False}
COMMON = {"max_tokens": 120, "temperature": 0}
TURNS: dict[str, dict[str, Any]] = {
    "required": {"tools": [LOOK, ASK], "tool_choice": "required", **ONE},
    "named": {"tools": [LOOK, ASK], "tool_choice": {"type": "function", "name": "ask"}},
    "without parameters": {"tools": [GO], "tool_choice": "required", **ONE},
    "strict": {"tools": [LOOK | {"strict": True}]},
    "strict beside a format": {"tools": [LOOK | {"strict": True}], "format": FORMAT, **ONE},
    "free beside a format": {"tools": [LOOK], "format": FORMAT},
    "one at a time": {"tools": [LOOK], "parallel_tool_calls": False},
    "bad and free": {"tools": [BAD]},
    "bad and strict": {"tools": [LOOK, BAD | {"strict": True}]},
    "bad and required": {"tools": [BAD], "tool_choice": "required"},
    "broken and required": {"tools": [LOOK, BROKEN], "tool_choice": "required"},
    "bad and not chosen": {"tools": [BAD, ASK], "tool_choice": {"type": "function", "name": "ask"}},
}


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """Of all turns, by name: an engine takes longer to start than to answer them."""
    require_vllm()
    lines = "".join(json.dumps([name, COMMON | params]) + "\n" for name, params in TURNS.items())
    command = [sys.executable, "-m", "tests.engine.calls"]
    environ = {name: value for name, value in os.environ.items() if name != SOCKETS}  # those are of our own engine
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=550, check=True, env=environ)
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


@pytest.mark.parametrize(
    ("turn", "names", "schema"),
    [
        ("required", {"look", "ask"}, None),
        ("named", {"ask"}, OK),
        ("without parameters", {"go"}, {"type": "object"}),
        ("bad and not chosen", {"ask"}, OK),
    ],
)
def test_a_forced_call_follows_its_schema(answers: dict[str, Any], turn: str, names: set[str], schema: Any) -> None:
    answer = answers[turn]
    assert answer.get("finish") is not None, answer
    if answer["finish"] == "length":  # arguments that nothing bounds
        assert turn == "without parameters"
        return
    ((name, arguments),) = answer["calls"]
    assert name in names
    wanted = schema or {"look": AT, "ask": OK}[name]
    jsonschema.validate(json.loads(arguments), {**wanted, "additionalProperties": schema == {"type": "object"}})


@pytest.mark.parametrize("turn", ["strict", "one at a time", "bad and free"])
def test_a_call_that_is_not_forced_may_be_missing(answers: dict[str, Any], turn: str) -> None:
    assert "finish" in answers[turn], answers[turn]
    for _, arguments in answers[turn]["calls"] if turn == "strict" else ():
        jsonschema.validate(json.loads(arguments), AT)


@pytest.mark.parametrize("turn", ["strict beside a format", "free beside a format"])
def test_beside_a_format_the_answer_is_one_or_the_other(answers: dict[str, Any], turn: str) -> None:
    answer = answers[turn]
    assert answer.get("finish") == "stop", answer
    if answer["calls"]:
        assert turn == "strict beside a format"
        jsonschema.validate(json.loads(answer["calls"][0][1]), AT)
    else:
        jsonschema.validate(json.loads(answer["text"]), SAID)


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        ("bad and strict", "tools[1].parameters.properties.a.not"),
        ("bad and required", "tools[0].parameters.properties.a.not"),
        ("broken and required", "tools[1].parameters.properties.a.pattern"),
    ],
)
def test_a_schema_that_no_call_can_be_held_to_is_named(answers: dict[str, Any], turn: str, name: str) -> None:
    assert answers[turn].get("name") == name, answers[turn]
