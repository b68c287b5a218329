"""Where the parts meet. Nobody imports this file but the command line and the tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from engine.base import Engine
from server.log.journal import CommitPolicy, Journal
from server.log.subscriber import LogSubscriber
from server.node.node import Node
from server.node.reconciler import Reconciler
from server.protocol import errors
from server.protocol.errors import WireError
from server.settings import Settings
from server.store.contracts import Store
from server.store.errors import StoreError
from server.store.memory.store import MemoryStore
from server.store.redis.embedded import embedded, intact
from server.store.redis.keys import Lifetimes
from server.store.redis.store import connect
from server.telemetry.instruments import Telemetry
from server.web.auth import Authenticator
from server.web.conversations import Conversations, from_store
from server.web.door import OriginMiddleware
from server.web.gate import Gate
from server.web.health import Health
from server.web.responses import Responses
from server.web.static import StaticPages
from server.web.websocket import WebSocketEndpoint

STATIC = Path(__file__).parent.parent / "static" / "dist"

log = structlog.get_logger(__name__)


class Running(msgspec.Struct, frozen=True):
    """A node with everything open. `app` is what the web server serves."""

    app: Starlette
    node: Node
    sockets: WebSocketEndpoint
    sweep: Reconciler


@asynccontextmanager
async def running(settings: Settings, engine: Engine, telemetry: Telemetry) -> AsyncIterator[Running]:
    """Open the store, then what stands on it; close in the opposite order. The engine is still to be loaded.

    Raises StoreError, BadSetting.
    """
    auth = Authenticator(settings.api_keys, settings.allowed_hosts, settings.allowed_origins)
    async with AsyncExitStack() as stack:
        alone = not settings.redis_url
        store = await _store(stack, settings)
        policy = CommitPolicy(merge_seconds=settings.merge_ms / 1000)
        journal = await stack.enter_async_context(Journal(store, policy=policy))
        watcher = await stack.enter_async_context(LogSubscriber(store, journal))
        node = Node(engine, store, journal, telemetry, name=settings.served_name, queue=settings.max_queue, alone=alone)
        sockets = WebSocketEndpoint(Gate(auth, store), node, store, watcher)
        sweep = Reconciler(node, store)
        stack.push_async_callback(engine.close)
        stack.push_async_callback(node.close)
        stack.push_async_callback(sockets.close, 1012, "this node is stopping")
        await stack.enter_async_context(_alive(node, sweep))
        yield Running(create_app(settings, auth, node, store, watcher, sockets), node, sockets, sweep)


@asynccontextmanager
async def _alive(node: Node, sweep: Reconciler) -> AsyncIterator[None]:
    """What a node does all the time: say that it lives, and look for turns that nobody runs."""
    tasks = [asyncio.create_task(work) for work in (node.heart.run(), sweep.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def create_app(
    settings: Settings,
    auth: Authenticator,
    node: Node,
    store: Store,
    watcher: LogSubscriber,
    sockets: WebSocketEndpoint,
) -> Starlette:
    """Routes, error handlers and middleware."""
    gate = sockets.gate
    responses = Responses(gate, node, store, watcher, max_body=settings.max_message_bytes)
    conversations = Conversations(gate, store, max_body=settings.max_message_bytes)
    routes = [
        WebSocketRoute("/v1/responses", sockets),
        *Health(node, store).routes(),
        *responses.routes(),
        *conversations.routes(),
        Route("/v1/{rest:path}", _no_such_path),
        Mount("/", StaticPages(STATIC)),
    ]
    return Starlette(routes=routes, middleware=_middleware(settings, gate), exception_handlers=_HANDLERS)


async def _store(stack: AsyncExitStack, settings: Settings) -> Store:
    if settings.store == "memory":
        log.warning("nothing is kept: all answers end with this process", store="memory")
        return MemoryStore()
    url, lossless = settings.redis_url, False
    if not url:
        lossless = intact(settings.folder)
        url = await stack.enter_async_context(embedded(settings.folder))
    lifetimes = Lifetimes(session=settings.session_days * 86_400, log=settings.log_minutes * 60)
    store = connect(url, lifetimes, lossless=lossless)
    stack.push_async_callback(store.close)
    await store.check()
    return store


def _middleware(settings: Settings, gate: Gate) -> list[Middleware]:
    door = Middleware(OriginMiddleware, gate=gate)
    if not settings.allowed_origins:
        return [door]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.allowed_origins),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["authorization", "content-type", "idempotency-key"],
    )
    return [cors, door]


def answer(error: WireError) -> Response:
    """An error over HTTP."""
    return JSONResponse(errors.envelope(error), error.status, error.headers)


async def _wire_error(request: Request, error: Any) -> Response:
    return answer(error)


async def _store_error(request: Request, error: Any) -> Response:
    log.warning("store refused", error=str(error), path=request.url.path)
    return answer(from_store(error))


async def _http_error(request: Request, error: Any) -> Response:
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request_error")
    return answer(WireError(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}."))


async def _our_error(request: Request, error: Any) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return answer(errors.internal())


async def _gone(request: Request, error: Any) -> Response:
    """Nobody reads this."""
    return Response(status_code=499)


async def _no_such_path(request: Request) -> Response:
    raise HTTPException(404, "no such path")


_HANDLERS: dict[Any, Any] = {
    WireError: _wire_error,
    ClientDisconnect: _gone,
    StoreError: _store_error,
    HTTPException: _http_error,
    Exception: _our_error,
}
