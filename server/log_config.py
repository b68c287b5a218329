"""How log lines look, for this process and for the engine's children: one pipe, one shape.

Kept apart from `telemetry` because the engine's children import it, and should import little.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def formatter(style: str) -> logging.Formatter:
    """`json`, or `console` for people."""
    last: Any = structlog.processors.JSONRenderer() if style == "json" else _console()
    end = [structlog.processors.format_exc_info] if style == "json" else []
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED, structlog.stdlib.ExtraAdder(), _strip],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end, last],
    )


def resolve(style: str) -> str:
    """`auto` means people when somebody is looking."""
    if style != "auto":
        return style
    return "console" if sys.stderr.isatty() else "json"


def dict_config(style: str, level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`, also written to a file for the engine's children."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "server.log_config.formatter", "style": style}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # A start of vLLM alone warns of a dozen things that nobody here chose; DEBUG shows them.
            "vllm": {"handlers": ["stderr"], "level": level if level == "DEBUG" else "ERROR", "propagate": False},
            "uvicorn": {"level": level if level == "DEBUG" else "WARNING"},
        },
    }


def _console() -> Any:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        pad_event_to=0,
        # A traceback with local variables would hold chat text, which is in no log.
        exception_formatter=structlog.dev.plain_traceback,
    )


def _strip(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """uvicorn repeats its message with terminal colours, vLLM names its process in every record of ours."""
    for name in ("color_message", "vllm_process_name"):
        event.pop(name, None)
    return event
