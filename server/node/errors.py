"""The one table from what goes wrong inside to what a client is told.

Every transport asks it, so that the same fault has the same code over a WebSocket and over HTTP. A row is found by the
first class of the error's own line of classes that is in the table.
"""

from collections.abc import Callable
from typing import Any

from engine.base import BadParameter, BadRequest, EngineError, PromptTooLong
from server.protocol import errors
from server.protocol.errors import WireError
from server.store.errors import Conflict, KeyReused, Locked, Missing, PositionLost, StoreError


def _bad_parameter(error: BadParameter) -> WireError:
    if error.unsupported:
        return errors.unsupported(error.name, error.reason)
    return errors.invalid(f"Invalid '{error.name}': {error.reason}.", error.name, "invalid_value")


TABLE: dict[type[Exception], Callable[[Any], WireError]] = {
    WireError: lambda error: error,
    Locked: lambda error: errors.locked(error.conversation),
    KeyReused: lambda error: errors.key_reused(),
    Missing: lambda error: errors.not_found(error.kind, error.id),
    PositionLost: lambda error: errors.position_lost(f"{error}."),
    StoreError: lambda error: errors.overloaded("The store is not available."),
    PromptTooLong: lambda error: errors.too_long(str(error)),
    BadParameter: _bad_parameter,
    BadRequest: lambda error: errors.invalid(str(error), "input"),
    EngineError: lambda error: errors.overloaded("The model is not available.", 5),
    Exception: lambda error: errors.internal(),
}


def wire_error(error: Exception) -> WireError:
    """What a client is told of an error. What has no row is a bug of ours, and says nothing about itself."""
    return next(TABLE[kind](error) for kind in type(error).__mro__ if kind in TABLE)


def is_fault(error: Exception) -> bool:
    """Whether an operator should hear of it: not what a client did, nor a conflict that it is told of."""
    if isinstance(error, StoreError):
        return not isinstance(error, Conflict)
    return not isinstance(error, WireError | BadRequest)
