"""The HTTP side of the fake, and the policy under which the page has to work."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from tests.browser.fake import converse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.browser.fake import Fake

DIST = Path(__file__).parents[2] / "static" / "dist"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'"
)


class Gate:
    """Notes every path, asks for the key where there is one, and sends the policy."""

    def __init__(self, app: ASGIApp, fake: Fake) -> None:
        self.app = app
        self.fake = fake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["content-security-policy"] = CSP
            await send(message)

        app = self.app
        if scope["type"] == "http":
            self.fake.paths.append(scope["path"])
            app = app if self.admits(scope) else refusal(401, "invalid_api_key", "Wrong key.")
        await app(scope, receive, with_policy)

    def admits(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        return not self.fake.key or not scope["path"].startswith("/v1/") or given == f"Bearer {self.fake.key}"


def refusal(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": text}}, status)


async def readyz(request: Request) -> Response:
    fake: Fake = request.app.state.fake
    return JSONResponse(fake.readiness, 200 if fake.readiness["status"] == "ready" else 503)


async def models(_: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "throughline-demo", "object": "model"}]})


async def conversations(request: Request) -> Response:
    fake: Fake = request.app.state.fake
    if request.method == "GET":
        return JSONResponse(page([*reversed(fake.conversations.values())], request))
    key = request.headers.get("idempotency-key", "")
    if key in fake.made:
        return JSONResponse(fake.conversations[fake.made[key]])
    id_ = fake.made[key] = f"conv_{next(fake.numbers)}"
    fake.items[id_] = []
    fake.conversations[id_] = {
        "id": id_,
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": (await request.json())["metadata"],
        "active_response_id": None,
    }
    if fake.forgetful > 0:
        fake.forgetful -= 1
        return refusal(503, "server_overloaded", "The answer to a call that was carried out.")
    return JSONResponse(fake.conversations[id_])


async def conversation(request: Request) -> Response:
    fake: Fake = request.app.state.fake
    id_ = request.path_params["id"]
    if id_ not in fake.conversations:
        return refusal(404, "not_found", "No such conversation.")
    if request.method == "POST":
        fake.conversations[id_]["metadata"] |= (await request.json())["metadata"]
    if request.method == "DELETE":
        del fake.conversations[id_]
        return JSONResponse({"id": id_, "object": "conversation.deleted", "deleted": True})
    return JSONResponse(fake.conversations[id_])


async def items(request: Request) -> Response:
    fake: Fake = request.app.state.fake
    found = fake.items[request.path_params["id"]]
    return JSONResponse(page(found if request.query_params["order"] == "asc" else [*reversed(found)], request))


async def item(request: Request) -> Response:
    fake: Fake = request.app.state.fake
    id_ = request.path_params["id"]
    fake.items[id_] = [entry for entry in fake.items[id_] if entry["id"] != request.path_params["item"]]
    return JSONResponse(fake.conversations[id_])


def page(entries: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    after = request.query_params.get("after")
    start = next((at + 1 for at, entry in enumerate(entries) if entry["id"] == after), 0)
    end = start + int(request.query_params["limit"])
    data = entries[start:end]
    last = data[-1]["id"] if data else None
    return {"object": "list", "data": data, "has_more": end < len(entries), "last_id": last}


async def responses(request: Request) -> Response:
    """A turn that is only started."""
    fake: Fake = request.app.state.fake
    body = await request.json()
    key = request.headers["idempotency-key"]
    if body["conversation"] not in fake.conversations:
        return refusal(404, "not_found", "No such conversation.")
    if key not in fake.keys and fake.conversations[body["conversation"]]["active_response_id"]:
        return refusal(400, "conversation_locked", "Locked.")
    turn = fake.begin({**body, "idempotency_key": key})
    return JSONResponse({"id": turn.id, "object": "response", "status": "queued"})


async def tickets(request: Request) -> Response:
    fake: Fake = request.app.state.fake
    ticket = f"ticket_{next(fake.numbers)}"
    fake.tickets.add(ticket)
    return JSONResponse({"ticket": ticket, "expires_in": 30})


EMBEDDED = """<!doctype html><title>Elsewhere</title><link rel="stylesheet" href="/embedded.css"><h1>A shop</h1>
<script type="module" src="/widget.js"></script><throughline-chat></throughline-chat>"""


async def embedded(_: Request) -> Response:
    """Somebody's page with the element on it."""
    return HTMLResponse(EMBEDDED)


async def embedded_style(_: Request) -> Response:
    return Response("throughline-chat { width: 400px; height: 500px }", media_type="text/css")


async def static(request: Request) -> Response:
    path = DIST / request.path_params.get("name", "index.html")
    return FileResponse(path) if path.is_file() else Response(status_code=404)


def application(fake: Fake) -> ASGIApp:
    app = Starlette(
        routes=[
            Route("/readyz", readyz),
            Route("/v1/models", models),
            Route("/v1/tickets", tickets, methods=["POST"]),
            Route("/v1/conversations", conversations, methods=["GET", "POST"]),
            Route("/v1/conversations/{id}", conversation, methods=["GET", "POST", "DELETE"]),
            Route("/v1/conversations/{id}/items", items),
            Route("/v1/conversations/{id}/items/{item}", item, methods=["DELETE"]),
            Route("/v1/responses", responses, methods=["POST"]),
            WebSocketRoute("/v1/responses", converse),
            Route("/embedded", embedded),
            Route("/embedded.css", embedded_style),
            Route("/", static),
            Route("/{name}", static),
        ]
    )
    app.state.fake = fake
    return Gate(app, fake)


@asynccontextmanager
async def serving(fake: Fake) -> AsyncIterator[Fake]:
    """Runs the fake on a free port of this machine."""
    config = uvicorn.Config(
        application(fake), log_level="error", ws="websockets-sansio", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # Without the signal handlers of `serve()`: they are pytest's.
        task = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            yield fake
        finally:
            fake.release()
            await fake.drop_all()
            server.should_exit = True
            await task
