"""Which handler answers: one route for each path, with all its methods, and an answer for what is not there.

Starlette matches method by method: of a path it would know only the first route's methods, and a catch-all for one
method would hide that others are wrong.
"""

from collections.abc import Iterable, Sequence

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.protocol.errors import WireError
from server.web.errors import shortened
from server.web.websocket import refuse


class MethodTable:
    """The handlers of one path by their methods. GET answers HEAD, too."""

    def __init__(self, handlers: dict[str, ASGIApp]) -> None:
        self._handlers = handlers | ({"HEAD": handlers["GET"]} if "GET" in handlers else {})
        self.allow = ", ".join(sorted({*self._handlers, "OPTIONS"}))  # for the header of this name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the method's handler, or say which methods there are: 405, and 204 to OPTIONS (RFC 9110, 9.3.7)."""
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            await handler(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"allow": self.allow})(scope, receive, send)
        else:
            raise HTTPException(405, f"this path has {self.allow}", {"allow": self.allow})


def by_path(routes: Iterable[Route]) -> list[Route]:
    """Routes that share a path as one, in the order in which the paths were first named."""
    handlers: dict[str, dict[str, ASGIApp]] = {}
    for route in routes:
        methods = (route.methods or set()) - {"HEAD"}
        handlers.setdefault(route.path, {}).update(dict.fromkeys(methods, route.app))
    return [Route(path, MethodTable(of_path)) for path, of_path in handlers.items()]


class NoSuchPath:
    """Answers 404, and names the path that was probably meant: most such requests come of a wrong base URL."""

    def __init__(self, known: Sequence[BaseRoute]) -> None:
        self._known = [route for route in known if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or a handshake."""
        if scope["type"] == "websocket":
            await receive()  # websocket.connect
            message = f"{shortened(scope['path'])}: no such path; WebSockets are opened at /v1/responses."
            await refuse(send, WireError(404, "not_found", message))
            return
        meant = self._meant(scope["path"])
        raise HTTPException(404, "no such path" + (f"; {shortened(meant)} may be meant" if meant else ""))

    def _meant(self, path: str) -> str | None:
        """The same path below `/v1`, without doubled and trailing slashes, if anything answers there."""
        parts = [part for part in path.split("/") if part]
        while parts[:1] == ["v1"]:
            del parts[0]
        for wanted in ("/v1/" + "/".join(parts), "/" + "/".join(parts)):
            if wanted != path and any(route.path_regex.match(wanted) for route in self._known):
                return wanted
        return None
