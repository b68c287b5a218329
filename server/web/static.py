"""The built widget, as files."""

import asyncio
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    "access-control-allow-origin": "*",  # other pages load the widget as a module
    "cross-origin-resource-policy": "cross-origin",
}
ALLOW = "GET, HEAD, OPTIONS"


class StaticPages:
    """Static files under a strict content security policy. What is no file is left to `otherwise`."""

    def __init__(self, folder: Path, otherwise: ASGIApp) -> None:
        self.folder = folder
        self.files = StaticFiles(directory=folder, html=True, check_dir=False)
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one file; there are no sockets here, and a checkout without the built widget still serves the API."""
        if scope["type"] == "websocket" or not await asyncio.to_thread(self._has, self.files.get_path(scope)):
            await self._otherwise(scope, receive, send)
        elif scope["method"] in {"GET", "HEAD"}:
            await self._serve(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"allow": ALLOW})(scope, receive, send)
        else:
            raise HTTPException(405, f"this path has {ALLOW}", {"allow": ALLOW})

    def _has(self, path: str) -> bool:
        """Whether this is a file, or a folder with a page in it."""
        try:
            found, status = self.files.lookup_path(path)
        except (OSError, ValueError):  # not readable, too long, or with a null byte
            return False
        return status is not None and (Path(found).is_file() or Path(found, "index.html").is_file())

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.files(scope, receive, send_with_policy)
