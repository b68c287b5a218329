"""Where the parts meet. Nobody imports this file but `serve` and the tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp

from engine.base import Engine
from server.log.committer import CommitPolicy
from server.log.journal import Journal
from server.log.subscriber import LogSubscriber
from server.node.drain import drain
from server.node.node import Node, NodeConfig
from server.node.reconciler import Reconciler
from server.node.service import TurnService
from server.protocol.budget import ByteBudget
from server.settings import BadSetting, Settings
from server.store.contracts import Store
from server.store.errors import BadAddress
from server.store.memory.store import MemoryStore
from server.store.redis.embedded import embedded, intact
from server.store.redis.keys import Lifetimes
from server.store.redis.store import connect
from server.telemetry.instruments import Telemetry
from server.web.auth import AccessRules, Authenticator, OriginMiddleware
from server.web.conversations import Conversations
from server.web.cors import CorsMiddleware
from server.web.errors import HANDLERS
from server.web.health import Health
from server.web.responses import Responses
from server.web.routing import NoSuchPath, by_path
from server.web.static import StaticPages
from server.web.websocket import STOPPING, WebSocketEndpoint

STATIC = Path(__file__).parent.parent / "static" / "dist"

log = structlog.get_logger(__name__)


class RunningNode(msgspec.Struct, frozen=True):
    """A node with everything open. `app` is what the web server serves."""

    app: ASGIApp
    node: Node
    service: TurnService
    sockets: WebSocketEndpoint
    reconciler: Reconciler

    async def drain(self, grace: float) -> None:
        """Let nobody else in, hand over or finish what runs within `grace` seconds, then close the sockets."""
        self.sockets.is_draining = True
        await drain(self.node, self.sockets.drain, grace)


@asynccontextmanager
async def running(settings: Settings, engine: Engine, telemetry: Telemetry) -> AsyncIterator[RunningNode]:
    """Open the store, then what stands on it; close in the opposite order. The engine is still to be loaded.

    Raises StoreError, BadSetting.
    """
    rules = AccessRules(settings.api_keys, settings.allowed_hosts, settings.allowed_origins)
    exclusive = not settings.redis_url
    turn_bytes, preparing_bytes = settings.max_held_bytes // 2, settings.max_held_bytes // 8
    config = NodeConfig(settings.served_name, settings.max_queue, turn_bytes, preparing_bytes, exclusive=exclusive)
    async with AsyncExitStack() as stack:
        store = await _open_store(stack, settings)
        policy = CommitPolicy(merge_seconds=settings.merge_ms / 1000)
        journal = await stack.enter_async_context(Journal(store, policy=policy))
        subscriber = await stack.enter_async_context(LogSubscriber(store, journal))
        node = Node(engine, store, journal, telemetry, config)
        service = TurnService(node, store, subscriber)
        authenticator = Authenticator(rules, store)
        waiting, remembered = ByteBudget(settings.max_held_bytes // 8), ByteBudget(settings.max_held_bytes // 4)
        sockets = WebSocketEndpoint(authenticator, service, telemetry.gauges, waiting=waiting, remembered=remembered)
        reconciler = Reconciler(node.resources, node.scheduler, node.detector, node.presence, node.cluster_changed)
        stack.push_async_callback(engine.close)
        stack.push_async_callback(node.close)
        stack.push_async_callback(sockets.close, *STOPPING)
        await stack.enter_async_context(_alive(node, reconciler))
        app = create_app(settings, authenticator, node, service, store, sockets)
        shown = CorsMiddleware(app, rules) if settings.allowed_origins else app
        yield RunningNode(shown, node, service, sockets, reconciler)


@asynccontextmanager
async def _alive(node: Node, reconciler: Reconciler) -> AsyncIterator[None]:
    """What a node does all the time: say that it lives, and look for turns that nobody runs."""
    tasks = [asyncio.create_task(work) for work in (node.heartbeater.run(), reconciler.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def create_app(
    settings: Settings,
    authenticator: Authenticator,
    node: Node,
    service: TurnService,
    store: Store,
    sockets: WebSocketEndpoint,
) -> Starlette:
    """Routes, error handlers and middleware."""
    responses = Responses(authenticator, service, node, max_body=settings.max_message_bytes)
    conversations = Conversations(authenticator, store, max_body=settings.max_message_bytes)
    api = by_path([*Health(node, store).routes(), *responses.routes(), *conversations.routes()])
    missing = NoSuchPath(api)
    routes = [
        WebSocketRoute("/v1/responses", sockets),
        *api,
        Mount("/v1", missing),
        Mount("/", StaticPages(STATIC, missing)),
    ]
    middleware = [Middleware(OriginMiddleware, authenticator=authenticator)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS)


async def _open_store(stack: AsyncExitStack, settings: Settings) -> Store:
    if settings.store == "memory":
        log.warning("store_is_memory", consequence="all answers end with this process")
        return MemoryStore()
    url, lossless = settings.redis_url, False
    if not url:
        lossless = intact(settings.folder)
        url = await stack.enter_async_context(embedded(settings.folder))
    lifetimes = Lifetimes(session=settings.session_days * 86_400, log=settings.log_minutes * 60)
    try:
        store = connect(url, lifetimes, lossless=lossless)
    except BadAddress as error:
        raise BadSetting("REDIS_URL", str(error)) from None
    stack.push_async_callback(store.close)
    await store.check()
    return store
