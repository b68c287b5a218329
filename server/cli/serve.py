"""`python -m server`: run a node until a signal ends it."""

import errno
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from server.settings import BadSetting, Settings

if TYPE_CHECKING:
    from engine.base import Engine

DEMO = Path(__file__).parents[2] / "engine" / "demo" / "model"


def serve(settings: Settings) -> int:
    """Serve; the exit status. Raises BadSetting."""
    # The order matters: vLLM's processes begin to import before this one does, and both take seconds.
    settings.folder.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings)
    import uvloop

    from server.log_config import resolve
    from server.serve import run
    from server.store.errors import StoreError
    from server.telemetry.instruments import start

    telemetry = start(resolve(settings.log_format), settings.log_level, settings.otel_exporter_otlp_endpoint)
    try:
        with _listen(settings) as listener:
            return uvloop.run(run(settings, engine, telemetry, listener))
    except (StoreError, OSError) as error:
        print(f"throughline: {error}", file=sys.stderr)
        return 1
    finally:
        telemetry.close()


def make_engine(settings: Settings) -> "Engine":
    """The engine that `ENGINE` names, not yet loaded. Raises BadSetting."""
    if settings.engine == "scripted":
        from engine.scripted import ScriptedEngine

        return ScriptedEngine(name=settings.served_name, rate=settings.scripted_rate, slots=settings.scripted_slots)
    from engine.vllm import VllmEngine, preload

    path = model_path(settings)
    config = _logging_config(settings)
    preload(path, settings.options, logging_config=config)
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
    from server.log_config import dict_config, resolve

    path = settings.folder / "engine-logging.json"
    path.write_text(json.dumps(dict_config(resolve(settings.log_format), settings.log_level)))
    return str(path)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        name = "PORT" if error.errno in {errno.EADDRINUSE, errno.EACCES} else "HOST"
        reason = os.strerror(error.errno or 0)
        raise BadSetting(name, f"cannot listen on {settings.host}:{settings.port}: {reason}") from None
