"""`python -m server`: run a node until a signal ends it."""

import json
import sys
from typing import TYPE_CHECKING

from server.cli.machine import listen, model_path, prepare_folder
from server.settings import BadSetting, Settings

if TYPE_CHECKING:
    from engine.base import Engine


def serve(settings: Settings) -> int:
    """Serve; the exit status. Raises BadSetting."""
    # The order matters: vLLM's processes begin to import before this one does, and both take seconds.
    prepare_folder(settings)
    engine = make_engine(settings)
    import uvloop

    from server.log_config import printable, resolve
    from server.serve import run
    from server.store.errors import StoreError
    from server.telemetry.instruments import start

    telemetry = start(resolve(settings.log_format), settings.log_level, settings.otel_exporter_otlp_endpoint)
    try:
        with listen(settings) as listener:
            return uvloop.run(run(settings, engine, telemetry, listener))
    except (StoreError, OSError) as error:
        print(f"throughline: {printable(str(error))}", file=sys.stderr)
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


def _logging_config(settings: Settings) -> str:
    """The engine's children log as we do; they read how from a file. Raises BadSetting."""
    from server.log_config import dict_config, resolve

    path = settings.folder / "engine-logging.json"
    try:
        path.write_text(json.dumps(dict_config(resolve(settings.log_format), settings.log_level)))
    except OSError as error:
        raise BadSetting("DATA_DIR", f"'{path}' cannot be written: {error.strerror}") from None
    return str(path)
