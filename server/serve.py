"""The web server around a node: signals, the engine's loading and its health."""

import asyncio
import resource
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import structlog
import uvicorn

from engine.base import Engine, EngineError
from server.allocator import Trimmer
from server.app import RunningNode, running
from server.garbage import CycleCollector, freeze_loaded_objects
from server.node.node import Node
from server.settings import Settings
from server.telemetry.instruments import Telemetry
from server.web.auth import OPEN_PATHS
from server.web.cors import answer_headers
from server.web.transport.addresses import ClientAddresses
from server.web.transport.http_protocol import ConnectionPolicy, HttpProtocol
from server.web.transport.limits import ConnectionTable, LogThrottle, connection_limits
from server.web.transport.sliced import SlicedWebSocketProtocol

# Threads for long messages. Each that runs may keep the interpreter from the event loop for 5 ms at a time; one more is
# for the engine, which loads in a thread.
WORKERS = 3
HEALTH_SECONDS = 0.5  # between two checks of the engine

log = structlog.get_logger("throughline")


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would close every socket within 50 ms, and raise the signal again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.asked = asyncio.Event()  # a signal came
        self.forced = asyncio.Event()  # and another one
        self.number = signal.SIGTERM  # the first one

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal ends politely, the second at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        yield

    def _end(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            self.force_exit = self.should_exit = True
            self.forced.set()
        self.number = self.number if self.asked.is_set() else number
        self.asked.set()


async def run(settings: Settings, engine: Engine, telemetry: Telemetry, listener: socket.socket) -> int:
    """Serve until a signal comes or the node fails. The exit status. Raises StoreError, BadSetting."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKERS, thread_name_prefix="work"))
    async with running(settings, engine, telemetry) as parts:
        server = Server(config(parts, settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        log.info(
            "listening", url=f"http://{settings.host}:{settings.port}", model=parts.node.config.name, state="loading"
        )
        working = asyncio.create_task(_work(parts))
        asked = asyncio.create_task(server.asked.wait())
        failed = asyncio.create_task(parts.node.failed.wait())
        await asyncio.wait({serving, asked, failed}, return_when=asyncio.FIRST_COMPLETED)
        if server.asked.is_set() and not parts.node.failed.is_set():
            await _drain(parts, server, settings)
        parts.callers.send_away()
        server.should_exit = True
        await serving
        for task in (working, asked, failed):
            task.cancel()
        await asyncio.gather(working, asked, failed, return_exceptions=True)
    return 1 if parts.node.failed.is_set() else 0


async def _drain(parts: RunningNode, server: Server, settings: Settings) -> None:
    """A second signal ends it. Ctrl-C on a node without neighbours is quick: its answers go on at the next start."""
    hurry = server.number is signal.SIGINT and parts.node.config.exclusive
    grace = 0.0 if hurry else float(settings.drain_seconds)
    draining = asyncio.create_task(parts.drain(grace))
    forced = asyncio.create_task(server.forced.wait())
    failed = asyncio.create_task(parts.node.failed.wait())  # nothing can be handed over without an engine or a Redis
    await asyncio.wait({draining, forced, failed}, return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, forced, failed):
        task.cancel()
    for result in await asyncio.gather(draining, forced, failed, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("drain_failed", exc_info=result)


def config(parts: RunningNode, settings: Settings) -> uvicorn.Config:
    """Pings every 20 s whatever the application does; no compression, which costs memory and time per token."""
    make_http: Any = partial(HttpProtocol, policy=connection_policy(parts, settings))  # uvicorn only calls it
    return uvicorn.Config(
        parts.app,
        http=make_http,
        ws=SlicedWebSocketProtocol,
        ws_max_size=settings.max_message_bytes,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def connection_policy(parts: RunningNode, settings: Settings) -> ConnectionPolicy:
    """Limits by the settings, and by what this process may open."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = connection_limits(settings.max_unauthenticated, settings.max_unauthenticated_per_address, descriptors)
    return ConnectionPolicy(
        ConnectionTable(limits),
        ClientAddresses(settings.trusted_proxies),
        parts.sockets.authenticator.accepts,
        frozenset(path.encode() for path in OPEN_PATHS),
        LogThrottle(),
        partial(answer_headers, parts.sockets.authenticator.rules.names_origin),
    )


async def _work(parts: RunningNode) -> None:
    """Load the engine, go on with what was left, watch over it, until it is of no use any more or this is cancelled."""
    node = parts.node
    try:
        await node.load()
        freeze_loaded_objects()
        await parts.reconciler.recover()
    except EngineError as error:
        node.fail(str(error))
    except Exception as error:
        log.error("start_failed", exc_info=error)
        node.fail(f"the node did not start: {type(error).__name__}")
    else:
        watch = node.supervisor.start("engine_check", partial(_watch, node))
        try:
            await node.failed.wait()
        finally:
            await watch.end()


async def _watch(node: Node) -> None:
    """Look at the engine until it is of no use any more."""
    collector, trimmer = CycleCollector(), Trimmer()
    while not node.failed.is_set():
        try:
            await node.engine.check()
        except EngineError as error:
            node.fail(str(error))
        collector.look(idle=not node.scheduler.taken_slots)
        if node.resources.preparations.large.is_empty:  # what is held now is no measure of what could be given back
            await trimmer.look(asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(HEALTH_SECONDS):
                await node.failed.wait()
