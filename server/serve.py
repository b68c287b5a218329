"""The web server around a node: signals, the engine's loading and its health. The only importer of uvicorn."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from engine.base import Engine, EngineError
from server.app import Running, running
from server.node import Node
from server.settings import Settings
from server.telemetry import Telemetry

HEALTH_SECONDS = 0.5  # between looks at the engine

log = structlog.get_logger("throughline")


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: it raises the signal again in the end, which looks like a crash."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal ends politely, the second at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


async def run(settings: Settings, engine: Engine, telemetry: Telemetry, listener: socket.socket) -> int:
    """Serve until a signal comes or the engine fails. The exit status. Raises StoreError, BadSetting."""
    async with running(settings, engine, telemetry) as node:
        server = Server(config(node, settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        log.info("listening", url=f"http://{settings.host}:{settings.port}", model=node.node.name, state="loading")
        working = asyncio.create_task(_work(node))
        await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
        failed = working.done()
        server.should_exit = True
        await serving
        working.cancel()
        await asyncio.gather(working, return_exceptions=not failed)
    return 1 if failed else 0


def config(node: Running, settings: Settings) -> uvicorn.Config:
    """Pings every 20 s whatever the application does; no compression, which costs memory and time per token."""
    return uvicorn.Config(
        node.app,
        ws="websockets-sansio",
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


async def _work(running: Running) -> None:
    """Load the engine, go on with what was left, watch over it. Returns when the engine is of no use any more."""
    node = running.node
    try:
        await node.load()
        await running.sweep.recover()
        await _watch(node)
    except EngineError as error:
        node.fail(str(error))


async def _watch(node: Node) -> None:
    while True:
        await asyncio.sleep(HEALTH_SECONDS)
        await node.engine.check()
