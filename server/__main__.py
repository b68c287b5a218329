"""The command line: `python -m server [flags] [-- vLLM's own options]`, `python -m server doctor`."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from server.settings import BadSetting, Settings, load, usage

if TYPE_CHECKING:
    import uvicorn

    from engine.base import Engine
    from server.app import Running
    from server.node import Node
    from server.telemetry import Telemetry

DEMO = Path(__file__).parent.parent / "engine" / "demo" / "model"
HELP = f"""Throughline: a chat server for your own GPUs.

  python -m server [flags] [-- vLLM's own engine options]
  python -m server doctor [flags]      say what was found here, and what is wrong

Every setting is a flag and an environment variable of the same name:
{usage()}
"""
HEALTH_SECONDS = 0.5  # between looks at the engine


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status."""
    if {"-h", "--help"} & set(arguments[:1]):
        print(HELP)
        return 0
    doctor = arguments[:1] == ["doctor"]
    try:
        settings = load(arguments[1:] if doctor else arguments)
        return _doctor(settings) if doctor else _serve(settings)
    except BadSetting as error:
        print(f"throughline: {error}", file=sys.stderr)
        return 2


def _doctor(settings: Settings) -> int:
    from server.doctor import report

    return report(settings, model_path(settings))


def _serve(settings: Settings) -> int:
    # The order matters: vLLM's processes begin to import before this one does, and both take seconds.
    settings.folder.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings)
    import uvloop

    from server.logformat import resolve
    from server.store.base import StoreError
    from server.telemetry import start

    telemetry = start(resolve(settings.log_format), settings.log_level, settings.otel_exporter_otlp_endpoint)
    try:
        with _listen(settings) as listener:
            return uvloop.run(_run(settings, engine, telemetry, listener))
    except (StoreError, OSError) as error:
        print(f"throughline: {error}", file=sys.stderr)
        return 1
    finally:
        telemetry.close()


def make_engine(settings: Settings) -> "Engine":
    """The engine that `ENGINE` names, not yet loaded. Raises BadSetting."""
    if settings.engine == "scripted":
        from engine.scripted import ScriptedEngine

        return ScriptedEngine(name=settings.served_name, rate=settings.scripted_rate)
    from engine.vllm import VllmEngine, preload

    path = model_path(settings)
    config = _logging_config(settings)
    preload(path, logging_config=config)
    return VllmEngine(path, settings.served_name, settings.options, logging_config=config)


def model_path(settings: Settings) -> str:
    """Where vLLM finds the model. Raises BadSetting for a folder that holds none."""
    path = str(DEMO) if settings.model == "demo" else os.path.expanduser(settings.model)
    looks_local = path.startswith((".", "/")) or os.path.isdir(path)
    if looks_local and not os.path.isfile(os.path.join(path, "config.json")):
        raise BadSetting("MODEL", f"'{path}' has no config.json, so it is not a model folder")
    return path


def _logging_config(settings: Settings) -> str:
    """The engine's children log as we do; they read how from a file."""
    from server.logformat import dict_config, resolve

    path = settings.folder / "engine-logging.json"
    path.write_text(json.dumps(dict_config(resolve(settings.log_format), settings.log_level)))
    return str(path)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise BadSetting("PORT", f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None


async def _run(settings: Settings, engine: "Engine", telemetry: "Telemetry", listener: socket.socket) -> int:
    import structlog
    import uvicorn

    from server.app import running

    log = structlog.get_logger("throughline")
    async with running(settings, engine, telemetry) as node:
        server = uvicorn.Server(_uvicorn_config(settings, node))
        _end_on_signals(server)
        serving = asyncio.create_task(_serve_app(server, listener))
        log.info("listening", url=f"http://{settings.host}:{settings.port}", model=node.node.name, state="loading")
        working = asyncio.create_task(_work(node))
        await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        failed = working.done() and working.result()
        await serving
        working.cancel()
    return 1 if failed else 0


def _end_on_signals(server: "uvicorn.Server") -> None:
    """The first signal ends politely, the second at once. Ours alone: uvicorn's own would end us by the signal."""

    def end() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)


async def _serve_app(server: "uvicorn.Server", listener: socket.socket) -> None:
    server.capture_signals = nullcontext  # type: ignore[method-assign]
    await server.serve(sockets=[listener])


def _uvicorn_config(settings: Settings, node: "Running") -> "uvicorn.Config":
    import uvicorn

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


async def _work(running: "Running") -> bool:
    """Load the engine, go on with what was left, watch over it. Returns when the engine is of no use any more."""
    from engine.base import EngineError

    node = running.node
    try:
        await node.load()
        await running.sweep.recover()
        await _watch(node)
    except EngineError as error:
        node.fail(str(error))
    return True


async def _watch(node: "Node") -> None:
    while True:
        await asyncio.sleep(HEALTH_SECONDS)
        await node.engine.check()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
