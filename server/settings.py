"""All settings, and the only reader of the environment.

Each setting is an environment variable and a flag of the same name (`DATA_DIR`, `--data-dir`); flags win.
"""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec


class BadSetting(Exception):  # noqa: N818 - told to people as it is
    """A setting that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Setting(msgspec.Struct, frozen=True):
    """One row of the table in the README."""

    name: str
    default: str
    help: str
    kind: str = "text"  # text | number low-high | list | networks | url scheme|scheme | one of a|b|c


TABLE: tuple[Setting, ...] = (
    Setting("HOST", "127.0.0.1", "Address to listen on."),
    Setting("PORT", "8000", "Port to listen on.", "number 1-65535"),
    Setting("MODEL", "demo", "The demo model, a local folder, or a name on the model hub."),
    Setting("MODEL_NAME", "", "The name that clients use; by default the last part of `MODEL`."),
    Setting("ENGINE", "vllm", "`vllm`, or `scripted` for tests of everything but the model.", "vllm|scripted"),
    Setting(
        "REDIS_URL",
        "",
        "`redis://`, `rediss://` (TLS) or `unix://`; `redis+cluster://host:port,host:port` for a Redis Cluster;"
        " `redis+sentinel://host:port,host:port/NAME` for a master that sentinels name. Empty: a Redis of our own in"
        " `DATA_DIR`.",
        "url redis|rediss|unix|redis+cluster|rediss+cluster|redis+sentinel|rediss+sentinel",
    ),
    Setting(
        "STORE",
        "redis",
        "`redis`; `memory` is for measuring what the log costs and never for use: all answers end with the process.",
        "redis|memory",
    ),
    Setting("DATA_DIR", "", "Data of our own Redis, and logs. Empty: `throughline` in the user's data folder."),
    Setting("ROLE", "all", "What this node does: sockets and engine.", "all"),
    Setting(
        "LOG_FORMAT", "auto", "`json`, `console`, or `auto`: console where a terminal shows it.", "auto|json|console"
    ),
    Setting("LOG_LEVEL", "INFO", "Lines below this level are left out.", "DEBUG|INFO|WARNING|ERROR"),
    Setting("API_KEYS", "", "Who may call: `name:key`, separated by commas. Empty: everyone, as one caller.", "list"),
    Setting(
        "ALLOWED_HOSTS", "", "Host names this node answers to, besides addresses and `localhost`; `*`: all.", "list"
    ),
    Setting("ALLOWED_ORIGINS", "", "Other web pages that may use this node, as `https://example.com`.", "list"),
    Setting(
        "TRUSTED_PROXIES",
        "",
        "Addresses and networks of proxies whose `X-Forwarded-For` is believed, as `10.0.0.0/8`; their own connections"
        " are counted only in all.",
        "networks",
    ),
    Setting(
        "MAX_UNAUTHENTICATED",
        "8192",
        "Connections without valid credentials, in all; at most half of the file descriptors, whatever is set.",
        "number 1-1000000",
    ),
    Setting(
        "MAX_UNAUTHENTICATED_PER_ADDRESS",
        "512",
        "Those of one client network (`/24` of IPv4, `/64` of IPv6); at most a quarter of all. Loopback is exempt.",
        "number 1-1000000",
    ),
    Setting("MAX_QUEUE", "256", "Turns that may wait for a slot on this node.", "number 0-100000"),
    Setting(
        "QUEUE_SECONDS",
        "300",
        "How long a waiting turn is kept once no node has its model any more; then it ends in `cannot_continue`.",
        "number 1-86400",
    ),
    Setting("MAX_MESSAGE_BYTES", "1048576", "Largest WebSocket message and HTTP body.", "number 1024-268435456"),
    Setting(
        "MAX_HELD_BYTES",
        "1073741824",
        "Memory for what clients sent and what is not done with: half of it for turns that run or wait, an eighth for"
        " requests that are being prepared, an eighth for messages that wait in lanes, a quarter for `store: false`"
        " chains. One caller may have half of each.",
        "number 1048576-1099511627776",
    ),
    Setting(
        "DRAIN_SECONDS",
        "30",
        "How long a stopping node lets answers finish that no other node takes over.",
        "number 0-3600",
    ),
    Setting(
        "SESSION_DAYS", "30", "How long responses and conversations are kept after their last use.", "number 1-3650"
    ),
    Setting("LOG_MINUTES", "15", "How long a finished answer can still be resumed event by event.", "number 1-10080"),
    Setting(
        "MERGE_MS",
        "20",
        "Tokens of one answer that come within so many milliseconds share an event, the first excepted; 0: only those"
        " that wait for the log.",
        "number 0-1000",
    ),
    Setting(
        "SCRIPTED_RATE", "50", "Tokens per second and stream of the scripted engine; 0: no limit.", "number 0-1000000"
    ),
    Setting("SCRIPTED_SLOTS", "64", "Answers that the scripted engine gives at once.", "number 1-100000"),
    Setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "Where traces and metrics are sent, as `http://127.0.0.1:4318`.",
        "url http|https",
    ),
)


class Settings(msgspec.Struct, frozen=True):
    """The table's values, typed. `options` are vLLM's own, as given after `--`."""

    host: str
    port: int
    model: str
    model_name: str
    engine: str
    redis_url: str
    store: str
    data_dir: str
    role: str
    log_format: str
    log_level: str
    api_keys: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    max_unauthenticated: int
    max_unauthenticated_per_address: int
    max_queue: int
    queue_seconds: int
    max_message_bytes: int
    max_held_bytes: int
    drain_seconds: int
    session_days: int
    log_minutes: int
    merge_ms: int
    scripted_rate: int
    scripted_slots: int
    otel_exporter_otlp_endpoint: str
    options: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without what nobody may read in a log: keys, and passwords in addresses."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for tracebacks on a terminal, which do not ask for `repr`."""
        return [(name, getattr(self, name)) for name in ("model", "engine", "host", "port", "data_dir")]

    @property
    def served_name(self) -> str:
        """What clients call the model."""
        if self.model_name:
            return self.model_name
        if self.engine == "scripted":
            return "scripted"
        return "throughline-demo" if self.model == "demo" else self.model.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> Path:
        """Where data is kept: `DATA_DIR`, or `throughline` in the user's data folder."""
        return Path(self.data_dir) if self.data_dir else data_home() / "throughline"


def data_home() -> Path:
    """The user's data folder (XDG base directories)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def load(flags: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """Read flags over the environment over defaults. Raises BadSetting with the setting's name.

    An empty variable counts as none: that is what compose files make of a variable that is not set.
    """
    environment = os.environ if environment is None else environment
    own, options = _split(flags)
    given = _parse_flags(own)
    values = {row.name: given.get(row.name, environment.get(row.name) or row.default) for row in TABLE}
    typed = {row.name.lower(): _typed(row, values[row.name].strip()) for row in TABLE}
    if typed["store"] == "memory" and typed["redis_url"]:
        raise BadSetting("STORE", "'memory' writes nothing to the Redis that REDIS_URL names; set one of the two")
    return Settings(**typed, options=tuple(options))


def usage() -> str:
    """The table as help text."""
    rows = [f"  {_flag(row):<32} {row.help}{f' [{row.default}]' if row.default else ''}" for row in TABLE]
    return "\n".join(rows)


def _split(flags: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    at = flags.index("--") if "--" in flags else len(flags)
    return flags[:at], flags[at + 1 :]


def _flag(row: Setting) -> str:
    return "--" + row.name.lower().replace("_", "-")


def _parse_flags(flags: Sequence[str]) -> dict[str, str]:
    names = {_flag(row): row.name for row in TABLE}
    given: dict[str, str] = {}
    rest = iter(flags)
    for word in rest:
        flag, _, value = word.partition("=")
        if flag not in names:
            raise BadSetting(flag, "there is no such setting; `python -m server --help` lists them")
        if "=" not in word:
            value = next(rest, "--")
        if value.startswith("--"):
            raise BadSetting(names[flag], "a value is missing")
        given[names[flag]] = value
    return given


def _typed(row: Setting, value: str) -> Any:
    if row.kind in {"list", "networks"}:
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        return _networks(row, parts) if row.kind == "networks" else parts
    if row.kind.startswith("number"):
        return _number(row, value)
    if row.kind.startswith("url"):
        return _url(row, value)
    if row.default and not value:
        raise BadSetting(row.name, "must not be empty")
    if row.kind != "text" and value not in row.kind.split("|"):
        raise BadSetting(row.name, f"'{value}' is not one of {', '.join(row.kind.split('|'))}")
    return value


def _networks(row: Setting, parts: tuple[str, ...]) -> tuple[str, ...]:
    for part in parts:
        try:
            ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise BadSetting(row.name, f"'{part}' is neither an address nor a network such as 10.0.0.0/8") from None
    return parts


def _url(row: Setting, value: str) -> str:
    schemes = row.kind.removeprefix("url ").split("|")
    scheme, found, rest = value.partition("://")
    if value and not (scheme in schemes and found and rest):
        raise BadSetting(row.name, f"must begin with {' or '.join(f'{each}://' for each in schemes)}")
    return value.rstrip("/")


def _number(row: Setting, value: str) -> int:
    low, high = map(int, row.kind.removeprefix("number ").split("-"))
    if not re.fullmatch(r"[0-9]{1,13}", value) or not low <= int(value) <= high:
        raise BadSetting(row.name, f"'{value}' is not a whole number from {low} to {high}")
    return int(value)
