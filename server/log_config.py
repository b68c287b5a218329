"""How log lines look, for this process and for the engine's children: one pipe, one shape.

Kept apart from `telemetry` because the engine's children import it, and should import little.
"""

import io
import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
COLUMNS = frozenset({"timestamp", "level", "event", "logger"})  # shown without quotes, in front


def formatter(style: str) -> logging.Formatter:
    """`json`, or `console` for people."""
    last: Any = structlog.processors.JSONRenderer() if style == "json" else _console()
    end = [structlog.processors.format_exc_info] if style == "json" else [_escape]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*SHARED, structlog.stdlib.ExtraAdder(), _strip],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end, last],
    )


def printable(text: str) -> str:
    """The same on one line, with everything that a terminal could obey (controls, line ends, text direction) escaped.

    Escapes are those of JSON, whose lines need none of this: `\\u001b`, `\\n`.
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


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
        exception_formatter=_traceback,
    )


class _Quoted:
    """A value that the console shows as it is, where it would put the escapes of a text in escapes once more."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _escape(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Paths, ids, headers and messages are what a client sent: none may steer a terminal, or look like another line."""
    for key, value in event.items():
        if key in {"exc_info", "_record", "_from_structlog"} or isinstance(value, bool | int | float | None):
            continue
        if key in {"exception", "stack"}:
            event[key] = _indented(str(value))
        elif key in COLUMNS:
            event[key] = printable(str(value).strip())
        elif not isinstance(value, str):
            event[key] = _Quoted(printable(repr(value)))
        elif not value.isprintable():
            event[key] = _Quoted(printable(json.dumps(value, ensure_ascii=False)))
    return event


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1] if char != "\x7f" else "\\u007f"


def _traceback(out: TextIO, exc_info: Any) -> None:
    """Without local variables, which would hold chat text, and that is in no log."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write("\n" + _indented(plain.getvalue().strip("\n")))


def _indented(text: str) -> str:
    """Several lines, of which none begins where a line of the log does."""
    return "\n".join(f"  {printable(line)}" for line in re.split("\r?\n", text))


def _strip(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """uvicorn repeats its message with terminal colours, vLLM names its process in every record of ours."""
    for name in ("color_message", "vllm_process_name"):
        event.pop(name, None)
    return event
