"""Errors as HTTP answers, and how Starlette finds them. What each error is, is in `server.node.errors`."""

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from engine.base import EngineError
from server.node.errors import is_fault, wire_error
from server.protocol.errors import WireError, envelope
from server.store.errors import StoreError
from server.web.bodies import JsonResponse
from server.web.content_coding import ACCEPTED

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
# Headers that HTTP asks for with a status (RFC 9110, 12.5.3, 15.5.2 and 15.5.22).
STATUS_HEADERS = {
    401: {"www-authenticate": "Bearer"},
    415: {"accept-encoding": ACCEPTED},
    426: {"upgrade": "websocket", "connection": "upgrade"},
}

SHOWN_CHARACTERS = 200  # of a path, in messages

log = structlog.get_logger(__name__)


def json_error(error: WireError) -> Response:
    """The official error body, with the error's own headers."""
    return JsonResponse(envelope(error), error.status, http_headers(error))


def http_headers(error: WireError) -> dict[str, str]:
    """The headers of an HTTP answer beside those of its body."""
    return STATUS_HEADERS.get(error.status, {}) | error.headers


def shortened(path: str) -> str:
    """A path that a client asked for, as a message repeats it."""
    return path if len(path) <= SHOWN_CHARACTERS else path[:SHOWN_CHARACTERS] + "..."


async def _known(request: Request, error: Any) -> Response:
    if is_fault(error):
        log.warning("request_not_served", error=str(error), path=request.scope["path"])
    return json_error(wire_error(error))


async def _unknown(request: Request, error: Any) -> Response:
    log.error("request_failed", path=request.scope["path"], exc_info=error)
    return json_error(wire_error(error))


async def _starlette(request: Request, error: Any) -> Response:
    code = HTTP_CODES.get(error.status_code, "invalid_request_error")
    message = f"{request.method} {shortened(request.scope['path'])}: {error.detail}."
    response = json_error(WireError(error.status_code, code, message))
    response.headers.update(error.headers or {})
    return response


async def _client_left(request: Request, error: Any) -> Response:
    """The client left; Starlette wants an answer all the same, which nobody reads."""
    return Response(status_code=499)


HANDLERS: dict[Any, Any] = {
    WireError: _known,
    StoreError: _known,
    EngineError: _known,
    ClientDisconnect: _client_left,
    HTTPException: _starlette,
    Exception: _unknown,
}
