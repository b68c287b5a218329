"""Cross-origin requests (Fetch standard, 3.2): what a browser lets the pages of `ALLOWED_ORIGINS` read and send.

Any header may be sent: the official SDKs add a dozen of their own, which change with their versions, and no header
gives a page that is allowed by name more than any other program has. Credentials are keys, never cookies.
"""

import re
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.auth import AccessRules

METHODS = "GET, POST, DELETE"
EXPOSED = "retry-after, x-request-id, allow, accept-encoding"  # what scripts may read beside the safelisted headers
PREFLIGHT_SECONDS = 7200  # that a browser may remember an answer for; Chromium's limit
MAX_REQUESTED = 4096  # characters of `Access-Control-Request-Headers`
HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+([ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")


def answer_headers(is_named: Callable[[str], bool], origin: str | None) -> dict[str, str]:
    """What lets the page of this origin read an answer; nothing for a page that is not allowed by name."""
    if origin is None or not is_named(origin):
        return {}
    return {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED, "vary": "Origin"}


class CorsMiddleware:
    """Outermost around the application, so that errors of every kind can be read by the page that caused them."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight of a page that is allowed; mark all other answers to it as readable."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        readable = answer_headers(self._rules.names_origin, origin)
        if readable and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _answer_preflight(headers, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                marked = MutableHeaders(scope=message)
                marked.add_vary_header("Origin")
                for name, value in readable.items():
                    marked.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_marked)


async def _answer_preflight(request: Headers, send: Send) -> None:
    headers = MutableHeaders(
        {
            "access-control-allow-origin": request["origin"],
            "access-control-allow-methods": METHODS,
            "access-control-max-age": str(PREFLIGHT_SECONDS),
            "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
        }
    )
    wanted = request.get("access-control-request-headers", "").strip()
    if len(wanted) <= MAX_REQUESTED and HEADER_NAMES.fullmatch(wanted):
        headers["access-control-allow-headers"] = wanted
    if request.get("access-control-request-private-network") == "true":
        headers["access-control-allow-private-network"] = "true"
    await send({"type": "http.response.start", "status": 204, "headers": headers.raw})
    await send({"type": "http.response.body", "body": b""})
