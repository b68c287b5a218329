"""Where the parts meet. Nobody imports this file but `serve` and the tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp

from engine.base import Engine
from server.background import Supervisor
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
from server.store.redis.embedded import EmbeddedRedis, embedded
from server.store.redis.keys import Lifetimes
from server.store.redis.store import connect
from server.telemetry.instruments import Telemetry
from server.web.auth import AccessRules, Authenticator, OriginMiddleware
from server.web.callers import WaitingCallers
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
    callers: WaitingCallers
    redis: EmbeddedRedis | None = None  # our own, where there is no other

    async def drain(self, grace: float) -> None:
        """Let nobody else in, hand over or finish what runs, and send everybody away, within `grace` seconds."""
        deadline = asyncio.get_running_loop().time() + grace
        self.sockets.is_draining = True
        spread = min(self.sockets.spread, grace / 3)
        await drain(self.node, partial(self.sockets.close, *STOPPING, spread=spread), grace, spread)
        await self.callers.leave(deadline - asyncio.get_running_loop().time())


@asynccontextmanager
async def running(settings: Settings, engine: Engine, telemetry: Telemetry) -> AsyncIterator[RunningNode]:
    """Open the store, then what stands on it; close in the opposite order. The engine is still to be loaded.

    Raises StoreError, BadSetting.
    """
    rules = AccessRules(settings.api_keys, settings.allowed_hosts, settings.allowed_origins)
    exclusive = not settings.redis_url
    turn_bytes, preparing_bytes = settings.max_held_bytes // 2, settings.max_held_bytes // 8
    config = NodeConfig(settings.served_name, settings.max_queue, turn_bytes, preparing_bytes, exclusive=exclusive)
    supervisor = Supervisor(on_failure=telemetry.task_failed)
    async with AsyncExitStack() as stack:
        redis = await _own_redis(stack, settings, telemetry, supervisor)
        store = await _open_store(stack, settings, telemetry, redis)
        policy = CommitPolicy(merge_seconds=settings.merge_ms / 1000)
        journal = await stack.enter_async_context(Journal(store, policy=policy, supervisor=supervisor))
        subscriber = await stack.enter_async_context(LogSubscriber(store, journal, supervisor=supervisor))
        node = Node(engine, store, journal, telemetry, config, supervisor)
        service = TurnService(node, store, subscriber)
        authenticator = Authenticator(rules, store)
        sockets = _sockets(settings, authenticator, service, telemetry, supervisor)
        reconciler = Reconciler(
            node.resources,
            node.scheduler,
            node.detector,
            node.presence,
            node.cluster_changed,
            queue_seconds=settings.queue_seconds,
        )
        stack.push_async_callback(engine.close)
        stack.push_async_callback(node.close)
        stack.push_async_callback(sockets.close, *STOPPING)
        await stack.enter_async_context(_alive(node, reconciler, redis))
        callers = WaitingCallers()
        app = create_app(settings, authenticator, node, service, store, sockets, callers)
        shown = CorsMiddleware(app, rules) if settings.allowed_origins else app
        yield RunningNode(shown, node, service, sockets, reconciler, callers, redis)


def _sockets(
    settings: Settings,
    authenticator: Authenticator,
    service: TurnService,
    telemetry: Telemetry,
    supervisor: Supervisor,
) -> WebSocketEndpoint:
    return WebSocketEndpoint(
        authenticator,
        service,
        telemetry.gauges,
        waiting=ByteBudget(settings.max_held_bytes // 8),
        remembered=ByteBudget(settings.max_held_bytes // 4),
        supervisor=supervisor,
    )


@asynccontextmanager
async def _alive(node: Node, reconciler: Reconciler, redis: EmbeddedRedis | None) -> AsyncIterator[None]:
    """What a node does all the time: say that it lives, look for turns that nobody runs, and end with its own Redis."""
    tasks = [
        node.supervisor.start("heartbeat", node.heartbeater.run),
        node.supervisor.start("reconciler", reconciler.run),
    ]
    if redis is not None:
        tasks.append(node.supervisor.start("redis_failure", partial(_end_with, redis, node)))
    try:
        yield
    finally:
        await asyncio.gather(*(task.end() for task in tasks))


async def _end_with(redis: EmbeddedRedis, node: Node) -> None:
    await redis.failed.wait()
    node.fail_store(redis.error)


def create_app(
    settings: Settings,
    authenticator: Authenticator,
    node: Node,
    service: TurnService,
    store: Store,
    sockets: WebSocketEndpoint,
    callers: WaitingCallers,
) -> Starlette:
    """Routes, error handlers and middleware."""
    responses = Responses(authenticator, service, node, callers, max_body=settings.max_message_bytes)
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


async def _own_redis(
    stack: AsyncExitStack, settings: Settings, telemetry: Telemetry, supervisor: Supervisor
) -> EmbeddedRedis | None:
    if settings.store == "memory" or settings.redis_url:
        return None
    starting = embedded(settings.folder, supervisor=supervisor, on_restart=telemetry.redis_restarted)
    return await stack.enter_async_context(starting)


async def _open_store(
    stack: AsyncExitStack, settings: Settings, telemetry: Telemetry, redis: EmbeddedRedis | None
) -> Store:
    if settings.store == "memory":
        log.warning("store_is_memory", consequence="all answers end with this process")
        return MemoryStore()
    url = settings.redis_url if redis is None else redis.url
    intact_runs = tuple if redis is None else redis.intact_runs
    lifetimes = Lifetimes(session=settings.session_days * 86_400, log=settings.log_minutes * 60)
    try:
        store = connect(url, lifetimes, intact_runs=intact_runs, unreadable=telemetry.unreadable)
    except BadAddress as error:
        raise BadSetting("REDIS_URL", str(error)) from None
    stack.push_async_callback(store.close)
    await store.check()
    return store
