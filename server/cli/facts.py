"""Reads what `needs.py` judges: the model's folder, the kernel's files, the GPU's driver. Loads nothing."""

import json
import os
import resource
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.cli.needs import DEFAULT_GPU_SHARE, MachineFacts, MemoryFacts, ModelFacts

COLLECTOR_SECONDS = 3.0
WIDTHS = {"float32": 4, "float": 4, "float16": 2, "bfloat16": 2, "half": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
WEIGHTS = ("*.safetensors", "*.gguf", "*.bin")  # one kind of them is loaded
UNLIMITED_GROUP = 1 << 60  # what a memory group without a limit says


def gpus() -> list[tuple[str, int]]:
    """NVIDIA GPUs as the driver lists them: names, and bytes of memory (0 where it does not say)."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    rows = [line.rpartition(",") for line in listed.stdout.splitlines() if line.strip()]
    return [(name.strip(), int(mib) << 20 if mib.strip().isdigit() else 0) for name, _, mib in rows]


def model_facts(folder: Path, options: Sequence[str]) -> ModelFacts:
    """Sizes from the index of the weights, or from the files, and from the model's configuration."""
    config = _json(folder / "config.json")
    inner = config.get("text_config")
    config = inner if isinstance(inner, dict) else config
    given = option(options, "--max-model-len")
    context = int(given) if given and given.isdigit() else _number(config, "max_position_embeddings")
    total = _json(folder / "model.safetensors.index.json").get("metadata", {})
    indexed = (_number(total, "total_size") if isinstance(total, dict) else None) or 0
    present = next((found for kind in WEIGHTS if (found := sum(_size(file) for file in folder.glob(kind)))), 0)
    cache = _token_cache(config, option(options, "--kv-cache-dtype"))
    return ModelFacts(max(indexed, present) or None, cache, context, missing=max(indexed - present, 0))


def _token_cache(config: dict[str, Any], dtype: str | None) -> int | None:
    """Bytes of keys and values that one token leaves. None for a model that says nothing of its heads."""
    layers, heads = _full_layers(config), _number(config, "num_attention_heads")
    hidden = _number(config, "hidden_size")
    kv_heads = _number(config, "num_key_value_heads") or heads
    head = _number(config, "head_dim") or (hidden // heads if hidden and heads else None)
    latent = _number(config, "kv_lora_rank")  # of multi-head latent attention: one vector for all heads
    width = WIDTHS.get(dtype or "") or WIDTHS.get(str(config.get("dtype") or config.get("torch_dtype")), 2)
    if layers and latent:
        return layers * width * (latent + (_number(config, "qk_rope_head_dim") or 0))
    return 2 * layers * kv_heads * head * width if layers and kv_heads and head else None


def _full_layers(config: dict[str, Any]) -> int | None:
    """Layers that keep all of a context; those that look at a window of it keep little."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        return sum(kind == "full_attention" for kind in kinds) or None
    windowed = config.get("sliding_window") and config.get("use_sliding_window", True)
    return None if windowed else _number(config, "num_hidden_layers")


def memory_facts(options: Sequence[str], found: Sequence[tuple[str, int]], *, on_gpu: bool) -> MemoryFacts:
    """What the model can have, as vLLM's options divide it."""
    shares = _whole(option(options, "--tensor-parallel-size") or option(options, "-tp"))
    stages = _whole(option(options, "--pipeline-parallel-size") or option(options, "-pp"))
    share = _fraction(option(options, "--gpu-memory-utilization"))
    sizes = tuple(memory for _, memory in found if memory) if on_gpu else ()
    return MemoryFacts(main=_main_memory(), gpus=sizes, shares=shares * stages, gpu_share=share)


def machine_facts(folder: Path, *, embedded_redis: bool) -> MachineFacts:
    """What the kernel says of this process and of the data's place."""
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    overcommit = _text(Path("/proc/sys/vm/overcommit_memory"))
    pages = _text(Path("/sys/kernel/mm/transparent_hugepage/enabled"))
    return MachineFacts(
        disk_free=None if nearest is None else shutil.disk_usage(nearest).free,
        descriptors=(soft, hard),
        overcommit=int(overcommit) if overcommit.isdigit() else None,
        huge_pages=pages.partition("[")[2].partition("]")[0] or None,
        embedded_redis=embedded_redis,
    )


def collector_trouble(endpoint: str) -> str | None:
    """Send the collector an empty export; None when it takes it, else why not."""
    call = urllib.request.Request(
        f"{endpoint}/v1/traces", data=b"", headers={"content-type": "application/x-protobuf"}, method="POST"
    )
    try:
        with urllib.request.urlopen(call, timeout=COLLECTOR_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def option(options: Sequence[str], name: str) -> str | None:
    """The value of one of vLLM's own options, as `--name value` or `--name=value`."""
    spelled = [word.replace("_", "-") if word.startswith("--") else word for word in options]
    for at, word in enumerate(spelled):
        flag, equals, _ = word.partition("=")
        if flag == name and equals:
            return options[at].partition("=")[2]
        if word == name and at + 1 < len(options):
            return options[at + 1]
    return None


def _main_memory() -> int:
    """Bytes that can still be had: of the machine, and of the group that this process is in."""
    lines = dict(line.split(":", 1) for line in _text(Path("/proc/meminfo")).splitlines() if ":" in line)
    free = lines.get("MemAvailable", "").split()
    available = int(free[0]) << 10 if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _group("memory.max", "memory/memory.limit_in_bytes")
    used = _group("memory.current", "memory/memory.usage_in_bytes") or 0
    # What files left in memory is given up when it is needed.
    stat = dict(line.split(" ", 1) for line in _text(Path("/sys/fs/cgroup/memory.stat")).splitlines() if " " in line)
    used -= int(stat.get("inactive_file", "0"))
    return available if limit is None else min(available, max(limit - used, 0))


def _group(*names: str) -> int | None:
    for name in names:
        text = _text(Path("/sys/fs/cgroup") / name)
        if text.isdigit() and int(text) < UNLIMITED_GROUP:
            return int(text)
    return None


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _number(table: dict[str, Any], name: str) -> int | None:
    value = table.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() and int(text) > 0 else 1


def _fraction(text: str | None) -> float:
    try:
        value = float(text or DEFAULT_GPU_SHARE)
    except ValueError:
        return DEFAULT_GPU_SHARE
    return value if 0 < value <= 1 else DEFAULT_GPU_SHARE


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
