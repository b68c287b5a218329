"""How a request asks to be sampled, in the engine's words."""

from typing import Any

import pytest

from engine.base import Format, Params
from server.protocol.request import parse_request
from server.protocol.sampling import SAME, params_of

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def params(**fields: Any) -> Params:
    return params_of(parse_request({"input": "Hi", **fields}))


def test_nothing_asked_is_the_model_s_own_default() -> None:
    assert params() == Params()


@pytest.mark.parametrize("name", SAME)
def test_what_has_the_same_name(name: str) -> None:
    assert getattr(params(**{name: 1}), name) == 1


@pytest.mark.parametrize("name", SAME)
def test_zero_is_not_nothing(name: str) -> None:
    assert getattr(params(**{name: 0}), name) == 0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 16}, Params(max_tokens=16)),
        ({"stop": "\n"}, Params(stop=("\n",))),
        ({"stop": ["a", "b"]}, Params(stop=("a", "b"))),
        ({"stop": []}, Params()),
        ({"ignore_eos": True}, Params(ignore_eos=True)),
        ({"top_logprobs": 3}, Params(logprobs=True, top_logprobs=3)),
        ({"top_logprobs": 0}, Params()),
        ({"include": ["message.output_text.logprobs"]}, Params(logprobs=True)),
        ({"include": ["reasoning.encrypted_content"]}, Params()),
        ({"text": {"format": {"type": "text"}}}, Params()),
        ({"text": {"format": {"type": "json_object"}}}, Params(format=Format("json_object"))),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}},
            Params(format=Format("json_schema", {"type": "object"})),
        ),
        ({"tools": [{"type": "web_search"}, FUNCTION]}, Params(tools=(FUNCTION,))),
        ({"tools": [FUNCTION], "tool_choice": "required"}, Params(tools=(FUNCTION,), tool_choice="required")),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "look"}},
            Params(tools=(FUNCTION,), tool_choice={"type": "function", "name": "look"}),
        ),
        ({"parallel_tool_calls": False}, Params(parallel_tool_calls=False)),
        ({"reasoning": {"effort": "low"}}, Params(reasoning_effort="low")),
    ],
)
def test_what_has_another_name_or_shape(fields: dict[str, Any], expected: Params) -> None:
    assert params(**fields) == expected


def test_every_parameter_can_be_asked_for() -> None:
    """A field added to `Params` must get its way in, and its row above."""
    above = {"max_tokens", "stop", "ignore_eos", "logprobs", "top_logprobs", "format", "tools", "tool_choice"}
    others = {"parallel_tool_calls", "reasoning_effort"}
    assert set(Params.__struct_fields__) == {*SAME, *above, *others}
