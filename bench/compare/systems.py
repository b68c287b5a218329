"""What is compared: how each server is started, and in which ways it is asked. Pure."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.launch import python


class Setup(msgspec.Struct, frozen=True):
    """What all servers of a comparison have in common."""

    model: str  # a folder, or a name on the model hub
    streams: int
    requests: int  # answers of the loaded phase
    output_tokens: int
    prompt_words: int
    engine_core: str = ""
    server_core: str = ""
    eager: bool = True
    memory: float = 0.2
    load_format: str = "auto"  # `dummy`: random weights
    seqs: int = 0  # answers that an engine gives at once; 0: its own default

    @property
    def variables(self) -> dict[str, str]:
        """Of every process. On a GPU the ones for CPUs do nothing."""
        quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
        local = {"HF_HUB_OFFLINE": "1"} if Path(self.model).is_dir() else {}
        bind = {"VLLM_CPU_OMP_THREADS_BIND": self.engine_core} if self.engine_core else {}
        return quiet | local | bind

    @property
    def engine(self) -> list[str]:
        """vLLM's own options, the same for all."""
        eager = ["--enforce-eager"] if self.eager else []
        seqs = ["--max-num-seqs", str(self.seqs)] if self.seqs else []
        return [*eager, "--gpu-memory-utilization", str(self.memory), "--load-format", self.load_format, *seqs]


class Way(msgspec.Struct, frozen=True):
    """A way of asking a server; one row of the table."""

    target: str  # of the load generator
    name: str


class System(msgspec.Struct, frozen=True):
    """A server, as the programs that make it up, started in this order."""

    name: str
    ways: tuple[Way, ...]
    ready: str  # the path that answers when the last program does
    commands: Callable[[Setup, Sequence[int], Path], list[list[str]]]  # with a port for each program
    programs: int = 1
    binary: str = ""  # that must be on PATH


def ours(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    """With the log, in a Redis that it starts itself."""
    flags = [
        "--model",
        setup.model,
        "--port",
        str(ports[0]),
        "--data-dir",
        str(folder / "data"),
        "--log-level",
        "WARNING",
    ]
    return [python(setup.variables, "-m", "server", *flags, "--", *setup.engine)]


def ours_without_log(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    """The same with a store in its own memory: what the log costs is the difference. Never for use."""
    (words,) = ours(setup, ports, folder)
    at = words.index("--")
    return [[*words[:at], "--store", "memory", *words[at:]]]


def vllm(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    """vLLM's own server as it comes, but for one log line per request."""
    flags = ["--model", setup.model, "--host", "127.0.0.1", "--port", str(ports[0]), "--disable-uvicorn-access-log"]
    words = python(setup.variables, "-m", "vllm.entrypoints.openai.api_server", *flags, *setup.engine)
    return [words]


def quiet_vllm(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    """The same without its statistics."""
    return [[*words, "--disable-log-stats"] for words in vllm(setup, ports, folder)]


def merging_vllm(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    """The same when it sends every third token, which is about what we do at the speed of a small model."""
    return [[*words, "--stream-interval", "3"] for words in vllm(setup, ports, folder)]


def agentic(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    """The gateway in front of vLLM's server."""
    upstream, database = f"http://127.0.0.1:{ports[0]}", f"sqlite://{folder / 'agentic.db'}"
    flags = ["--upstream", upstream, "--gateway-port", str(ports[1]), "--database-url", database]
    return [*vllm(setup, ports, folder), ["agentic", "serve", *flags]]


SYSTEMS: Mapping[str, System] = {
    "vllm": System(
        "vllm",
        (
            Way("responses", "vLLM's server, SSE, /v1/responses"),
            Way("chat", "vLLM's server, SSE, /v1/chat/completions"),
        ),
        "/health",
        vllm,
    ),
    "vllm-quiet": System(
        "vllm-quiet", (Way("responses", "vLLM's server without statistics, SSE, /v1/responses"),), "/health", quiet_vllm
    ),
    "vllm-merging": System(
        "vllm-merging",
        (Way("responses", "vLLM's server, every third token, SSE, /v1/responses"),),
        "/health",
        merging_vllm,
    ),
    "agentic": System(
        "agentic", (Way("ws", "agentic-api + vLLM's server, WebSocket"),), "/health", agentic, 2, "agentic"
    ),
    "ours": System("ours", (Way("ws", "Throughline, WebSocket"), Way("sse", "Throughline, SSE")), "/readyz", ours),
    "ours-no-log": System(
        "ours-no-log", (Way("ws", "Throughline, its store in memory, WebSocket"),), "/readyz", ours_without_log
    ),
}
FLOORS: Mapping[str, str] = {"floor": "AsyncLLM alone, no statistics", "floor-stats": "AsyncLLM alone, with statistics"}


def missing(system: System) -> bool:
    """Whether its program is not on this machine."""
    return bool(system.binary) and shutil.which(system.binary) is None


def floor(setup: Setup, name: str, json: Path) -> list[str]:
    """The bare engine, measured by a program of its own."""
    sizes = {
        "--streams": setup.streams,
        "--requests": setup.requests,
        "--output-tokens": setup.output_tokens,
        "--prompt-words": setup.prompt_words,
        "--memory": setup.memory,
        "--load-format": setup.load_format,
        "--max-num-seqs": setup.seqs,
        "--engine-core": setup.engine_core,
        "--server-core": setup.server_core,
        "--json": json,
    }
    flags = [str(word) for pair in sizes.items() for word in pair]
    switches = [*(["--log-stats"] if name == "floor-stats" else []), *([] if setup.eager else ["--no-eager"])]
    return python(setup.variables, "-m", "bench.floor", "--model", setup.model, *flags, *switches)
