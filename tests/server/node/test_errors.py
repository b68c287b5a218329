"""What a client is told of everything that the store and the engine raise."""

import inspect

import pytest

import engine.base
import server.store.errors
from engine.base import BadParameter, BadRequest, CannotContinue, EngineDead, EngineError, Overloaded, PromptTooLong
from server.node.errors import is_fault, wire_error
from server.protocol.errors import WireError, unauthorized
from server.protocol.status import Status
from server.store.errors import (
    BadAddress,
    Conflict,
    KeyReused,
    Locked,
    Missing,
    Moved,
    PositionLost,
    StoreDown,
    StoreError,
    StoreFull,
)
from server.store.types import TurnRef

SECRET = "10.0.0.7:6379 refused"
GONE = PositionLost(TurnRef("alice", "resp_1"), 7, Status.COMPLETED, 5)

TABLE: list[tuple[Exception, int, str, str | None]] = [
    # what was raised, status, code, param
    (unauthorized("No."), 401, "invalid_api_key", None),
    (Locked("conv_1", "resp_1"), 400, "conversation_locked", "conversation"),
    (KeyReused("once"), 409, "idempotency_key_reused", "idempotency_key"),
    (Missing("conversation", "conv_1"), 404, "not_found", None),
    (GONE, 404, "stream_position_lost", "starting_after"),
    (Moved("conv_1"), 503, "server_overloaded", None),
    (StoreDown(SECRET), 503, "server_overloaded", None),
    (StoreFull(SECRET), 503, "server_overloaded", None),
    (StoreError(SECRET), 503, "server_overloaded", None),
    (BadAddress(SECRET), 503, "server_overloaded", None),
    (Conflict(SECRET), 503, "server_overloaded", None),
    (PromptTooLong(9, 8), 400, "context_length_exceeded", "input"),
    (BadParameter("top_k", "too large"), 400, "invalid_value", "top_k"),
    (BadParameter("tools", "no parser", unsupported=True), 400, "unsupported_parameter", "tools"),
    (BadRequest("no user message"), 400, "invalid_request_error", "input"),
    (Overloaded("full"), 503, "server_overloaded", None),
    (CannotContinue("grammar"), 503, "server_overloaded", None),
    (EngineDead("gone"), 503, "server_overloaded", None),
    (EngineError("odd"), 503, "server_overloaded", None),
    (ValueError(SECRET), 500, "server_error", None),
]


@pytest.mark.parametrize(("error", "status", "code", "param"), TABLE, ids=lambda value: type(value).__name__)
def test_every_error_has_one_code(error: Exception, status: int, code: str, param: str | None) -> None:
    wire = wire_error(error)
    assert (wire.status, wire.code, wire.param) == (status, code, param)


@pytest.mark.parametrize("error", [StoreDown(SECRET), StoreError(SECRET), ValueError(SECRET)])
def test_what_is_internal_is_not_told(error: Exception) -> None:
    assert SECRET not in str(wire_error(error).body())


def test_no_error_of_store_or_engine_is_missing_here() -> None:
    defined = {
        found
        for module, root in ((server.store.errors, StoreError), (engine.base, EngineError))
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, root)
    }
    assert defined <= {type(error) for error, *_ in TABLE}


@pytest.mark.parametrize("error", [StoreDown("x"), StoreFull("x"), StoreError("x"), EngineDead("x"), ValueError("x")])
def test_an_operator_hears_of_faults(error: Exception) -> None:
    assert is_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        WireError(400, "c", "m"),
        Missing("item", "x"),
        Locked("c", "t"),
        Moved("c"),
        KeyReused("k"),
        BadRequest("x"),
        GONE,
    ],
)
def test_what_a_client_did_is_no_fault(error: Exception) -> None:
    assert not is_fault(error)
