"""Errors as clients see them."""

from typing import Any

import orjson
import pytest
from openai.types.responses.responses_server_event import ResponseWsError

from server.protocol import errors
from server.protocol.errors import WireError, envelope, frame
from tests.server.protocol import sdk

# Each error with its row: status, code, type, the parameter it names.
ROWS: list[tuple[WireError, tuple[int, str, str, str | None]]] = [
    (errors.invalid("No."), (400, "invalid_request_error", "invalid_request_error", None)),
    (errors.invalid("No.", "input", "invalid_type"), (400, "invalid_type", "invalid_request_error", "input")),
    (errors.unsupported("prompt", "no"), (400, "unsupported_parameter", "invalid_request_error", "prompt")),
    (errors.unknown_model("gpt-9", "demo"), (404, "model_not_found", "invalid_request_error", "model")),
    (
        errors.previous_not_found("resp_1"),
        (400, "previous_response_not_found", "invalid_request_error", "previous_response_id"),
    ),
    (errors.not_found("response", "resp_1"), (404, "not_found", "invalid_request_error", None)),
    (errors.locked("conv_1"), (400, "conversation_locked", "invalid_request_error", "conversation")),
    (errors.key_reused(), (409, "idempotency_key_reused", "invalid_request_error", "idempotency_key")),
    (errors.too_long("too long"), (400, "context_length_exceeded", "invalid_request_error", "input")),
    (errors.loading(2), (503, "model_loading", "server_error", None)),
    (errors.overloaded("No room.", 3), (503, "server_overloaded", "server_error", None)),
    (errors.unauthorized("Who?"), (401, "invalid_api_key", "authentication_error", None)),
    (errors.forbidden("origin_not_allowed", "No."), (403, "origin_not_allowed", "permission_error", None)),
    (errors.internal(), (500, "server_error", "server_error", None)),
    (errors.position_lost("Gone."), (404, "stream_position_lost", "invalid_request_error", "starting_after")),
]


@pytest.mark.parametrize(("error", "row"), ROWS)
def test_the_table(error: WireError, row: tuple[int, str, str, str | None]) -> None:
    assert (error.status, error.code, error.type, error.param) == row


@pytest.mark.parametrize("error", [error for error, _ in ROWS])
@pytest.mark.parametrize("lane", [None, "side"])
def test_the_sdk_reads_every_frame(error: WireError, lane: str | None) -> None:
    read: Any = sdk.read(ResponseWsError, orjson.loads(frame(error, lane)))
    assert (read.type, read.status, read.stream_id) == ("error", error.status, lane)
    assert (read.error.code, read.error.message, read.error.param) == (error.code, error.message, error.param)


def test_a_frame_is_nested() -> None:
    assert frame(errors.previous_not_found("resp_1"), "main") == (
        '{"type":"error","status":400,"stream_id":"main","error":{"type":"invalid_request_error",'
        '"code":"previous_response_not_found","message":"Previous response with id \'resp_1\' not found.",'
        '"param":"previous_response_id"}}'
    )


def test_the_default_lane_is_not_named() -> None:
    assert "stream_id" not in orjson.loads(frame(errors.internal()))


def test_the_envelope_is_the_official_body() -> None:
    assert envelope(errors.internal()) == {
        "error": {
            "type": "server_error",
            "code": "server_error",
            "message": "The server had an error while processing your request.",
            "param": None,
        }
    }


@pytest.mark.parametrize(("error", "seconds"), [(errors.loading(2), "2"), (errors.overloaded("No room."), "1")])
def test_who_shall_come_again_is_told_when(error: WireError, seconds: str) -> None:
    assert envelope(error)["error"]["headers"] == {"retry-after": seconds}


def test_a_lost_position_shows_the_stored_response() -> None:
    """`response` is ours; everything else is the SDK's."""
    event = orjson.loads(frame(errors.position_lost("Gone.", {"id": "resp_1"}), "side"))
    assert event["response"] == {"id": "resp_1"}
    sdk.read(ResponseWsError, event, known=frozenset({"response"}))


def test_an_error_says_itself() -> None:
    assert str(errors.locked("conv_1")).startswith("400 conversation_locked: Another turn is running")
