"""The check that every HTTP request passes first: our own host, no foreign page."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from server.protocol.errors import WireError, envelope
from server.web.gate import Gate

# Probes and scrapers come by whatever name the cluster gives a node, and read nothing that is anybody's.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class OriginMiddleware:
    """Plain ASGI around the application; WebSockets have the same check in their own handshake."""

    def __init__(self, app: App, gate: Gate) -> None:
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Refuse with 403, or pass on."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                self.gate.check_page(Headers(scope=scope))
            except WireError as error:
                await JSONResponse(envelope(error), error.status)(scope, receive, send)
                return
        await self.app(scope, receive, send)
