"""A node in this process, on a real port, with a real Redis: what the tests of the server talk to."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from engine.base import Engine
from engine.scripted import ScriptedEngine
from server.app import RunningNode, running
from server.serve import config
from server.settings import Settings, load
from server.telemetry.instruments import Telemetry, instruments


class Served:
    """A node that answers."""

    def __init__(
        self, running: RunningNode, engine: Engine, telemetry: Telemetry, port: int, server: uvicorn.Server
    ) -> None:
        self.running = running
        self.node = running.node
        self.engine = engine
        self.telemetry = telemetry
        self.port = port
        self.server = server

    @property
    def http(self) -> str:
        """Base URL for clients, as the SDK wants it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ws(self) -> str:
        """The WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}/v1/responses"


def settings_for(redis_url: str, **changes: Any) -> Settings:
    """Settings as the command line would read them, without this machine's environment."""
    flags = {"engine": "scripted", "redis_url": redis_url, **changes}
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return load(words, {})


@asynccontextmanager
async def serving(settings: Settings, engine: Engine | None = None, *, load: bool = True) -> AsyncIterator[Served]:
    """Serve until the block ends. `load=False` leaves the engine unloaded, as in a node's first seconds."""
    engine = engine or ScriptedEngine(name=settings.served_name, rate=0)
    telemetry = instruments()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        async with running(settings, engine, telemetry) as node:
            server = uvicorn.Server(config(node, settings))
            task = asyncio.create_task(_serve(server, listener))
            if load:
                await node.node.load()
                await node.reconciler.recover()
            try:
                yield Served(node, engine, telemetry, listener.getsockname()[1], server)
            finally:
                await node.sockets.close(1012, "this node is stopping")
                server.should_exit = True
                await task


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Without uvicorn's signal handlers, which belong to a process of its own."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    await server.main_loop()
    await server.shutdown(sockets=[listener])
