"""The response object, with the SDK's type as judge."""

from typing import Any

import orjson
import pytest
from openai.types.responses import Response

from server.protocol.request import Request, parse_request
from server.protocol.response import Usage, created, ended
from server.protocol.status import Status
from tests.server.protocol import clients, sdk
from tests.server.protocol.chunks import EVERYTHING, begun
from tests.server.protocol.test_request import EXTRAS, WORKS

# The live service returns `store` too; the SDK's type leaves it out.
EXTRA = frozenset({"store"})


def made(**fields: Any) -> dict[str, Any]:
    request = parse_request({"input": "Hi", **fields})
    response: dict[str, Any] = orjson.loads(orjson.dumps(created(request, "resp_abc", 1_700_000_000, "demo")))
    sdk.read(Response, response, known=EXTRA)
    return response


def end(status: Status, **options: Any) -> dict[str, Any]:
    answer, _ = begun()
    for chunk in EVERYTHING:
        answer.take(chunk)
    answer.close(status)
    usage = Usage(input=3, cached=2, output=12, reasoning=4)
    response = ended(created(Request(), "resp_abc", 1, "demo"), status, answer.items, usage, 9, **options)
    written: dict[str, Any] = orjson.loads(orjson.dumps(response))
    sdk.read(Response, written, known=EXTRA)
    return written


class TestCreated:
    """What was asked, and nothing said yet."""

    def test_the_least(self) -> None:
        response = made()
        assert (response["id"], response["object"], response["status"]) == ("resp_abc", "response", "in_progress")
        assert (response["output"], response["usage"], response["error"]) == ([], None, None)
        assert (response["created_at"], response["completed_at"]) == (1_700_000_000, None)

    def test_defaults_are_filled_in(self) -> None:
        response = made()
        names = ("temperature", "top_p", "tool_choice", "truncation", "parallel_tool_calls", "store", "background")
        assert [response[name] for name in names] == [1.0, 1.0, "auto", "disabled", True, True, False]
        assert response["text"] == {"format": {"type": "text"}}

    @pytest.mark.parametrize(("name", "value"), [*WORKS.items(), *EXTRAS.items()])
    def test_the_sdk_reads_it_whatever_was_asked(self, name: str, value: Any) -> None:
        made(**{name: value})

    @pytest.mark.parametrize(
        "frame",
        [clients.codex_frame(), clients.codex_second_turn(), clients.agents_frame(), clients.agents_full_input()],
    )
    def test_the_sdk_reads_it_for_real_clients(self, frame: dict[str, Any]) -> None:
        made(**frame)

    @pytest.mark.parametrize(
        "name",
        [
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
            "previous_response_id",
            "prompt_cache_key",
            "safety_identifier",
            "store",
            "temperature",
            "text",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ],
    )
    def test_what_was_asked_is_repeated(self, name: str) -> None:
        assert made(**{name: WORKS[name]})[name] == WORKS[name]

    @pytest.mark.parametrize("value", ["conv_1", {"id": "conv_1"}])
    def test_the_conversation_in_its_long_form(self, value: Any) -> None:
        assert made(conversation=value)["conversation"] == {"id": "conv_1"}

    def test_zero_is_not_the_default(self) -> None:
        response = made(temperature=0, top_p=0)
        assert (response["temperature"], response["top_p"]) == (0, 0)

    def test_reasoning(self) -> None:
        assert made(reasoning={"effort": "low"})["reasoning"] == {"effort": "low", "summary": None}

    def test_only_tools_that_work_are_listed(self) -> None:
        [tool] = made(tools=[{"type": "web_search"}, {"type": "function", "name": "look"}])["tools"]
        assert tool == {"type": "function", "name": "look", "parameters": None, "strict": None}

    def test_a_schema(self) -> None:
        shape = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}
        assert made(text={"format": shape})["text"] == {"format": shape}


class TestEnded:
    """The response as its turn ends."""

    def test_completed(self) -> None:
        response = end(Status.COMPLETED)
        assert (response["status"], response["completed_at"]) == ("completed", 9)
        assert (response["error"], response["incomplete_details"]) == (None, None)
        assert [item["type"] for item in response["output"]] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "message",
        ]

    def test_truncated(self) -> None:
        response = end(Status.INCOMPLETE, reason="max_output_tokens")
        assert (response["status"], response["completed_at"]) == ("incomplete", None)
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}

    def test_cancelled(self) -> None:
        response = end(Status.CANCELLED)
        assert (response["status"], response["incomplete_details"]) == ("cancelled", None)

    def test_failed(self) -> None:
        response = end(Status.FAILED, error=("server_error", "Something broke."))
        assert response["error"] == {"code": "server_error", "message": "Something broke."}

    def test_what_was_asked_stays(self) -> None:
        before = created(Request(metadata={"a": "b"}), "resp_abc", 1, "demo")
        after = ended(before, Status.COMPLETED, [], Usage(), 9)
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"status", "completed_at", "usage"}

    def test_usage(self) -> None:
        assert end(Status.COMPLETED)["usage"] == {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
            "output_tokens": 12,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 15,
        }
