"""Errors as HTTP answers, and how Starlette finds them. What each error is, is in `server.node.errors`."""

from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from engine.base import EngineError
from server.node.errors import is_fault, wire_error
from server.protocol.errors import WireError, envelope
from server.store.errors import StoreError

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}

log = structlog.get_logger(__name__)


def json_error(error: WireError) -> Response:
    """The official error body, with the error's own headers."""
    return JSONResponse(envelope(error), error.status, error.headers)


async def _known(request: Request, error: Any) -> Response:
    if is_fault(error):
        log.warning("request_not_served", error=str(error), path=request.url.path)
    return json_error(wire_error(error))


async def _unknown(request: Request, error: Any) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return json_error(wire_error(error))


async def _starlette(request: Request, error: Any) -> Response:
    code = HTTP_CODES.get(error.status_code, "invalid_request_error")
    return json_error(WireError(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}."))


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
