"""What goes wrong, as clients see it.

One class: an error is its row in the table below. The codes are the public protocol's own where it has one; `status`
is the HTTP status that the same error has over HTTP.
"""

from typing import Any

import orjson

MESSAGE_CHARACTERS = 1000  # of a message; what a client sent is quoted in many, and may be as long as a request
PARAM_CHARACTERS = 200
QUOTED_CHARACTERS = 100  # of one id or name in a message


class WireError(Exception):
    """An error that the client is told. `message` names what is wrong and contains nothing internal."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
        response: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code
        self.message = cut(message, MESSAGE_CHARACTERS)
        self.param = None if param is None else cut(param, PARAM_CHARACTERS)
        self.type = type
        self.headers = headers or {}
        self.response = response  # the stored response that can be shown instead

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    def body(self) -> dict[str, Any]:
        """The official error object, as HTTP bodies and WebSocket events hold it."""
        error = {"type": self.type, "code": self.code, "message": self.message, "param": self.param}
        return error | {"headers": self.headers} if self.headers else error


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as has `limit` characters, with a sign that there was more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quoted(text: str) -> str:
    """A name or an id out of a request, as messages show it."""
    return f"'{cut(text, QUOTED_CHARACTERS)}'"


def frame(error: WireError, lane: str | None = None) -> str:
    """The WebSocket `error` event, nested as clients expect it."""
    event: dict[str, Any] = {"type": "error", "status": error.status}
    if lane is not None:
        event["stream_id"] = lane
    return orjson.dumps(event | envelope(error)).decode()


def envelope(error: WireError) -> dict[str, Any]:
    """The error as the body of an HTTP answer; `response` is ours."""
    body: dict[str, Any] = {"error": error.body()}
    return body if error.response is None else body | {"response": error.response}


def invalid(message: str, param: str | None = None, code: str = "invalid_request_error") -> WireError:
    """The request breaks a rule."""
    return WireError(400, code, message, param=param)


def unsupported(param: str, why: str) -> WireError:
    """A field that this server, or this model, cannot honour."""
    return WireError(400, "unsupported_parameter", f"'{param}' is not supported: {why}", param=param)


def unknown_model(name: str, known: str) -> WireError:
    """Another model than the one that is served."""
    return WireError(
        404, "model_not_found", f"The model {quoted(name)} does not exist; this server has '{known}'.", param="model"
    )


def previous_not_found(id: str) -> WireError:
    """Neither this connection nor the store knows the response to continue from."""
    message = f"Previous response with id {quoted(id)} not found."
    return WireError(400, "previous_response_not_found", message, param="previous_response_id")


def not_found(kind: str, id: str) -> WireError:
    """Absent, expired, or somebody else's: the answer is the same."""
    return WireError(404, "not_found", f"{kind.capitalize()} with id {quoted(id)} not found.")


def locked(conversation: str) -> WireError:
    """One turn at a time per conversation."""
    message = f"Another turn is running in conversation '{conversation}'. Wait for its end, or cancel it."
    return WireError(400, "conversation_locked", message, param="conversation")


def key_reused() -> WireError:
    """The idempotency key came with a different body."""
    return WireError(
        409, "idempotency_key_reused", "This idempotency key was used for a different request.", param="idempotency_key"
    )


def too_long(message: str) -> WireError:
    """More tokens than the model reads."""
    return WireError(400, "context_length_exceeded", f"Your input is too long: {message}.", param="input")


def loading(seconds: int) -> WireError:
    """The model is not there yet."""
    return _later("model_loading", "The model is still loading.", seconds)


def overloaded(message: str, seconds: int = 1) -> WireError:
    """503: no room now, but later. `seconds` is what `retry-after` says."""
    return _later("server_overloaded", message, seconds)


def _later(code: str, message: str, seconds: int) -> WireError:
    return WireError(503, code, message, type="server_error", headers={"retry-after": str(seconds)})


def unauthorized(message: str) -> WireError:
    """No credentials, or unknown ones."""
    return WireError(401, "invalid_api_key", message, type="authentication_error")


def forbidden(code: str, message: str) -> WireError:
    """Known, and still not allowed."""
    return WireError(403, code, message, type="permission_error")


def internal() -> WireError:
    """Our bug; what it was stands in the log, not here."""
    return WireError(500, "server_error", "The server had an error while processing your request.", type="server_error")


def position_lost(message: str, response: dict[str, Any] | None = None) -> WireError:
    """The log does not reach that position, or is gone. Show the stored response, or resume without a position."""
    return WireError(404, "stream_position_lost", message, param="starting_after", response=response)
