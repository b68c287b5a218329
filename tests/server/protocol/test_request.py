"""From a client's JSON to a checked request."""

from typing import Any, get_args

import orjson
import pytest
from openai.types.responses.responses_client_event import ResponseCreate

from server.protocol.errors import WireError
from server.protocol.request import (
    NOT_OFFERED,
    Request,
    check_metadata,
    convert,
    fingerprint,
    parse_object,
    parse_request,
)
from tests.server.protocol import clients

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}
SCHEMA = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}


def ask(**fields: Any) -> Request:
    return parse_request({"input": "Hi", **fields})


def refused(**fields: Any) -> WireError:
    with pytest.raises(WireError) as caught:
        ask(**fields)
    return caught.value


# Each public field of `response.create` with a value that works. A field is here, or in NOT_OFFERED, or below.
WORKS: dict[str, Any] = {
    "background": True,
    "conversation": "conv_1",
    "generate": False,
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "input": [{"role": "user", "content": "Hi"}],
    "instructions": "Be brief.",
    "max_output_tokens": 16,
    "max_tool_calls": 3,
    "metadata": {"a": "b"},
    "model": "demo",
    "parallel_tool_calls": False,
    "previous_response_id": "resp_1",
    "prompt_cache_key": "key",
    "reasoning": {"effort": "low", "summary": "auto", "context": "all_turns", "mode": "standard"},
    "safety_identifier": "someone",
    "store": False,
    "stream": True,
    "stream_id": "side",
    "stream_options": {"include_obfuscation": False},
    "temperature": 0.5,
    "text": {"format": SCHEMA, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [FUNCTION],
    "top_logprobs": 3,
    "top_p": 0.9,
    "truncation": "auto",
    "user": "someone",
}
# vLLM's own, accepted as its server accepts them.
EXTRAS: dict[str, Any] = {
    "top_k": 5,
    "min_p": 0.1,
    "seed": 7,
    "ignore_eos": True,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "stop": ["\n"],
    "idempotency_key": "once",
}
# What asks for something that this server does not do, and the name it is refused by.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"access_programs": {"cyber": "standard"}}, "access_programs"),
    ({"background_options": {"completion_window": "8h"}}, "background_options"),
    ({"context_management": [{"type": "compaction", "compact_threshold": 1000}]}, "context_management"),
    ({"image": {"context_compression": "enabled"}}, "image"),
    ({"moderation": {"model": "omni-moderation-latest"}}, "moderation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options"),
    ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"include": ["file_search_call.results"]}, "include"),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
    ({"reasoning": {"generate_summary": "concise"}}, "reasoning.generate_summary"),
    ({"reasoning": {"context": "current_turn"}}, "reasoning.context"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
    ({"text": {"verbosity": "high"}}, "text.verbosity"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0].type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]},
        "input[0].content[0].type",
    ),
]
# What no server could do.
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"input": 5}, "input"),
    ({"input": ["Hi"]}, "input[0]"),
    ({"input": []}, "input"),
    ({"input": [{}]}, "input[0].type"),
    ({"input": [{"role": "robot", "content": "Hi"}]}, "input[0].role"),
    ({"input": [{"role": ["user"], "content": "Hi"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": {}}]}]}, "input[0].content[0].type"),
    ({"model": 5}, "model"),
    ({"instructions": ["x"]}, "instructions"),
    ({"conversation": {"name": "x"}}, "conversation.id"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"previous_response_id": "r", "conversation": "c"}, "previous_response_id"),
    ({"store": "no"}, "store"),
    ({"stream": 1}, "stream"),
    ({"generate": "no"}, "generate"),
    ({"background": True, "store": False}, "background"),
    ({"max_output_tokens": "16"}, "max_output_tokens"),
    ({"max_output_tokens": 16.5}, "max_output_tokens"),
    ({"max_tool_calls": "1"}, "max_tool_calls"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": float("inf")}, "top_p"),
    ({"top_logprobs": True}, "top_logprobs"),
    ({"text": "json"}, "text"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "answer"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"text": {"verbosity": "loud"}}, "text.verbosity"),
    ({"tools": "all"}, "tools"),
    ({"tools": [5]}, "tools[0]"),
    ({"tools": [{"name": "look"}]}, "tools[0].type"),
    ({"tools": [FUNCTION, {"type": "function"}]}, "tools[1].name"),
    ({"tools": [{**FUNCTION, "parameters": "x"}]}, "tools[0].parameters"),
    ({"tools": [{**FUNCTION, "description": 5}]}, "tools[0].description"),
    ({"tools": [{**FUNCTION, "strict": "yes"}]}, "tools[0].strict"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "hear"}}, "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": ["look"]}}, "tool_choice"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ({"reasoning": "high"}, "reasoning"),
    ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
    ({"include": "all"}, "include"),
    ({"include": [5]}, "include[0]"),
    ({"metadata": {"a": 1}}, "metadata"),
    ({"metadata": []}, "metadata"),
    ({"truncation": "middle"}, "truncation"),
    ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ({"safety_identifier": 5}, "safety_identifier"),
    ({"user": 5}, "user"),
    ({"seed": 1.5}, "seed"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop[1]"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"idempotency_key": "x" * 256}, "idempotency_key"),
]


class TestFields:
    """Every public field works, or is refused by name."""

    def test_no_public_field_is_forgotten(self) -> None:
        """A new field of the SDK fails here until somebody decides about it."""
        public = set(ResponseCreate.model_fields) - {"type"}
        assert public == (WORKS.keys() | NOT_OFFERED.keys())
        assert not WORKS.keys() & NOT_OFFERED.keys()

    def test_nested_fields_are_not_forgotten(self) -> None:
        """The same for `reasoning`, `text` and `stream_options`."""
        for name, known in (
            ("reasoning", {"effort", "summary", "generate_summary", "context", "mode"}),
            ("text", {"format", "verbosity"}),
            ("stream_options", {"include_obfuscation"}),
        ):
            annotation = ResponseCreate.model_fields[name].annotation
            assert set(get_args(annotation)[0].model_fields) == known, name

    @pytest.mark.parametrize(("name", "value"), [*WORKS.items(), *EXTRAS.items()])
    def test_a_field_works(self, name: str, value: Any) -> None:
        request = ask(**({"store": True} | {name: value}))
        assert getattr(request, name) is not None

    @pytest.mark.parametrize("name", [name for name in (*WORKS, *EXTRAS, *NOT_OFFERED) if name != "input"])
    def test_null_asks_for_nothing(self, name: str) -> None:
        assert ask(**{name: None}) == ask()

    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, all in NOT_OFFERED.items() for value in all])
    def test_values_that_ask_for_nothing_are_taken(self, name: str, value: Any) -> None:
        assert ask(**{name: value}) == ask()

    @pytest.mark.parametrize(("fields", "param"), REFUSED)
    def test_what_is_not_offered_is_refused_by_name(self, fields: dict[str, Any], param: str) -> None:
        error = refused(**fields)
        assert (error.status, error.code, error.param) == (400, "unsupported_parameter", param)

    @pytest.mark.parametrize("name", NOT_OFFERED)
    def test_nothing_that_is_not_offered_is_left_out_above(self, name: str) -> None:
        assert any(name in fields for fields, _ in REFUSED)

    @pytest.mark.parametrize(("fields", "param"), INVALID)
    def test_what_is_wrong_is_named(self, fields: dict[str, Any], param: str) -> None:
        error = refused(**fields)
        assert (error.status, error.param) == (400, param)
        assert param.rpartition(".")[2].partition("[")[0] in error.message

    def test_fields_of_a_client_s_own_are_tolerated(self) -> None:
        assert ask(client_metadata={"a": "b"}, x_mine=[1]) == ask()

    def test_tools_that_cannot_work_are_left_out(self) -> None:
        request = ask(tools=[{"type": "web_search"}, FUNCTION, {"type": "namespace", "name": "n", "tools": []}])
        assert request.function_tools == [FUNCTION]

    def test_a_warm_up_needs_no_input(self) -> None:
        assert parse_request({"generate": False}).items == []

    @pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
    def test_a_continuation_needs_no_input(self, field: str) -> None:
        assert parse_request({field: "id_1"}).items == []


class TestForms:
    """What clients may say in two ways."""

    def test_input_as_a_string(self) -> None:
        assert ask(input="Hi").items == [{"type": "message", "role": "user", "content": "Hi"}]

    def test_conversation_in_both_forms(self) -> None:
        assert ask(conversation="c").conversation_id == ask(conversation={"id": "c"}).conversation_id == "c"

    def test_kept_unless_refused(self) -> None:
        assert [ask(store=value).kept for value in (None, True, False)] == [True, True, False]

    def test_generates_unless_refused(self) -> None:
        assert [ask(generate=value).generates for value in (None, True, False)] == [True, True, False]


class TestClients:
    """Frames of clients that must work unmodified."""

    def test_codex(self) -> None:
        frame = clients.codex_frame()
        assert 35_000 < len(orjson.dumps(frame)) < 60_000
        request = parse_request(frame)
        assert len(request.function_tools) == 24
        assert not request.kept
        assert [item["role"] for item in request.items] == ["developer", "user", "user"]

    def test_codex_warm_up(self) -> None:
        assert not parse_request(clients.codex_warm_up()).generates

    def test_codex_second_turn(self) -> None:
        assert parse_request(clients.codex_second_turn()).previous_response_id == "resp_first"

    def test_agents_sdk(self) -> None:
        assert parse_request(clients.agents_frame()).function_tools[0]["name"] == "get_weather"

    def test_agents_sdk_with_its_whole_history(self) -> None:
        assert len(parse_request(clients.agents_full_input()).items) == 5


class TestMetadata:
    """16 pairs, keys of 64 and values of 512 characters."""

    def test_at_the_limits(self) -> None:
        check_metadata({f"{number:02}".ljust(64, "k"): "v" * 512 for number in range(16)})

    @pytest.mark.parametrize(
        ("metadata", "param"),
        [
            ({str(number): "v" for number in range(17)}, "metadata"),
            ({"k" * 65: "v"}, "metadata"),
            ({"k": "v" * 513}, "metadata.k"),
        ],
    )
    def test_beyond_a_limit(self, metadata: dict[str, str], param: str) -> None:
        assert refused(metadata=metadata).param == param


class TestFingerprint:
    """Equal for equal requests, however they are carried."""

    def test_the_order_of_fields_does_not_matter(self) -> None:
        assert fingerprint({"a": {"b": 1, "c": 2}, "d": 3}) == fingerprint({"d": 3, "a": {"c": 2, "b": 1}})

    @pytest.mark.parametrize(
        "carriage",
        [{"type": "response.create"}, {"stream": True}, {"stream_id": "a"}, {"idempotency_key": "k"}],
    )
    def test_how_it_is_carried_does_not_matter(self, carriage: dict[str, Any]) -> None:
        assert fingerprint({"input": "Hi"} | carriage) == fingerprint({"input": "Hi"})

    @pytest.mark.parametrize("other", [{"input": "Ho"}, {"input": "Hi", "store": False}, {"input": ["Hi"]}])
    def test_what_is_asked_matters(self, other: dict[str, Any]) -> None:
        assert fingerprint(other) != fingerprint({"input": "Hi"})


class TestDecoding:
    """The steps below `parse_request`, which other bodies share."""

    def test_an_object(self) -> None:
        assert parse_object(b'{"a":1}') == {"a": 1}

    def test_what_is_read_can_be_written(self) -> None:
        deepest: Any = "x"
        for _ in range(99):
            deepest = [deepest]
        body = parse_object(orjson.dumps({"a": deepest}))
        assert orjson.dumps({"response": {"text": {"format": body}}})

    def test_a_path_below_another(self) -> None:
        with pytest.raises(WireError) as caught:
            convert({"metadata": {"a": 1}}, Request, "items[3]")
        assert caught.value.param == "items[3].metadata"
