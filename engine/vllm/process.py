"""Where the engine's processes come from: a forkserver that imports vLLM while the node does the same.

Nothing here imports vllm. A forkserver, because a plain fork would copy the node's sockets and locks into the engine
and a spawned process starts its imports only when the node has finished its own.
"""

import contextlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

PRELOAD = ("engine.vllm.tether", "vllm.v1.engine.core", "vllm.v1.executor.uniproc_executor")
PRELOAD_ON_CPU = (*PRELOAD, "vllm.v1.worker.cpu_worker")
SOCKETS = "VLLM_RPC_BASE_PATH"
PREFIX = "vllm-of-"  # of folders that are ours to remove
# Libraries' notes about themselves, of which no operator can act on one. What is set already stays.
QUIET = {"TORCH_LOGS": "-torch", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore::FutureWarning"}
SMALL_MODEL = 256 << 20  # bytes of weights; below it more threads cost more than they give


def preload(model: str, options: Sequence[str] = (), *, logging_config: str | None = None) -> None:
    """Start importing vLLM in the process that engines are forked from; returns at once.

    Call it as early as possible. What it puts into the environment stays there, for the node and its engines: no usage
    statistics, no notes of libraries about themselves, no network for a model on disk, a folder for vLLM's sockets,
    `logging_config` (a path to a JSON file as `logging.config.dictConfig` takes it) for vLLM's loggers.
    """
    os.environ.update(_shared_environment(model, logging_config))
    node: Any = multiprocessing.current_process()
    node._config["tempdir"] = os.environ[SOCKETS]  # of the forkserver's own socket
    with _environment(_engine_environment(model, options)):
        multiprocessing.set_forkserver_preload(list(PRELOAD_ON_CPU if on_cpu() else PRELOAD))
        forkserver.ensure_running()


def stop() -> None:
    """End the forkserver and with it whatever engine process is still there; blocks for a moment."""
    server: Any = forkserver._forkserver
    if server._forkserver_pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(server._forkserver_pid, signal.SIGKILL)
    server._stop()
    folder = Path(os.environ.get(SOCKETS, ""))
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ[SOCKETS]


def on_cpu() -> bool:
    """Whether the installed vLLM is the one for CPUs, told without importing it."""
    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu" or sys.platform == "darwin":
        return True
    try:
        return "cpu" in importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return importlib.util.find_spec("vllm") is not None


def _shared_environment(model: str, logging_config: str | None) -> dict[str, str]:
    shared = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    shared |= {name: value for name, value in QUIET.items() if name not in os.environ}
    if not _is_usable(os.environ.get(SOCKETS)):  # vLLM leaves three sockets behind at every stop
        shared[SOCKETS] = tempfile.mkdtemp(prefix=_own_prefix())
    if Path(model).is_dir():
        shared |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if logging_config is not None:
        shared["VLLM_LOGGING_CONFIG_PATH"] = logging_config
    return shared


def _is_usable(folder: str | None) -> bool:
    """Whether sockets may go there: not where another process made the folder, which is gone with that process."""
    name = Path(folder or PREFIX).name
    return not name.startswith(PREFIX) or name.startswith(_own_prefix())


def _own_prefix() -> str:
    return f"{PREFIX}{os.getpid()}-"


def _engine_environment(model: str, options: Sequence[str]) -> dict[str, str]:
    """What must be set before the engine's libraries load; the node keeps its own environment."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    common = {"THROUGHLINE_NODE": str(os.getpid()), "PYTHONPATH": os.pathsep.join(paths)}
    if not on_cpu():
        return common | {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}  # for the workers of a tensor parallel engine
    # Without a compiled model torch would still compile the sampling of log probabilities, at their first use: 4 s.
    eager = {"TORCH_COMPILE_DISABLE": "1", "TMPDIR": os.environ[SOCKETS]}
    eager = {} if "--no-enforce-eager" in options else eager
    return common | eager | _threads(model, os.environ) | _as_vllm_sets_for_cpu_workers()


def _threads(model: str, environ: Mapping[str, str]) -> dict[str, str]:
    """libgomp reads these once, when it loads; without them the engine's throughput halves."""
    if "OMP_NUM_THREADS" in environ:
        return {}
    bind = environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto")
    if bind not in ("auto", "nobind"):
        cores = _cores_of(bind.split("|")[0])
        return {"OMP_NUM_THREADS": str(len(cores)), "GOMP_CPU_AFFINITY": " ".join(map(str, cores))}
    return {"OMP_NUM_THREADS": str(1 if _weights(model) < SMALL_MODEL else _spare_cores())}


def _cores_of(listing: str) -> list[int]:
    """`0-2,5` is [0, 1, 2, 5]."""
    ranges = [part.partition("-") for part in listing.split(",")]
    return [core for low, _, high in ranges for core in range(int(low), int(high or low) + 1)]


def _spare_cores() -> int:
    """Half of the logical cores (the physical ones of most machines), less one for the node."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count // 2 - 1, min(count - 1, 2))


def _weights(model: str) -> int:
    """Bytes of weights in a folder; a model from the hub counts as large."""
    folder = Path(model)
    if not folder.is_dir():
        return SMALL_MODEL
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _as_vllm_sets_for_cpu_workers() -> dict[str, str]:
    """vLLM's CPU platform sets these in the node, too late for a process that exists already."""
    return {
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1",
        "VLLM_DISABLE_SHARED_EXPERTS_STREAM": "1",
        "LOCAL_WORLD_SIZE": "1",
        "NUMEXPR_MAX_THREADS": str(os.cpu_count() or 1),
        "LD_PRELOAD": os.pathsep.join(_libraries()),
    }


def _libraries() -> Sequence[str]:
    """tcmalloc from vLLM and libgomp from torch, as vLLM preloads them for its CPU workers."""
    given = [path for path in os.environ.get("LD_PRELOAD", "").split(":") if path]
    if platform.system() != "Linux":
        return given
    wanted = (("vllm", "libs", "libtcmalloc_minimal*.so*"), ("torch", "lib", "libgomp*.so*"))
    found = [next(iter(sorted(_package(name).joinpath(sub).glob(glob))), None) for name, sub, glob in wanted]
    return [*(str(path) for path in found if path is not None), *given]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
