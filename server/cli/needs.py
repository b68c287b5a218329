"""What a node needs of the machine, judged: facts in, findings out. Nothing here looks at anything.

A finding that is not well is something that will not work. What will work, but badly, is well and says so.
"""

from collections.abc import Iterator

import msgspec

GIB = 1 << 30
SPARE_DISK = 2 * GIB  # below this the log of a busy hour does not fit
LOW_DISK = 10 * GIB
LEAST_DESCRIPTORS = 1024
GOOD_DESCRIPTORS = 65_536
CPU_OVERHEAD = 2 * GIB  # vLLM, torch and the server themselves
GPU_OVERHEAD = 1 * GIB  # the CUDA context and what an answer is worked out in
CPU_CONTEXTS = 2  # that the engine makes room for at least
DEFAULT_GPU_SHARE = 0.9  # vLLM's own default of --gpu-memory-utilization
ALWAYS = 1  # vm.overcommit_memory
STRICT = 2


class Finding(msgspec.Struct, frozen=True):
    """One line: whether it is well, what was looked at, and what was found, what is needed and what to do."""

    well: bool
    what: str
    found: str


class ModelFacts(msgspec.Struct, frozen=True):
    """Sizes in bytes, as the model's folder tells them. None: it does not."""

    weights: int | None = None
    token_cache: int | None = None  # keys and values of one token, in all layers
    context: int | None = None  # tokens
    missing: int = 0  # of the weights that the index lists


class MemoryFacts(msgspec.Struct, frozen=True):
    """Bytes. A GPU counts as a whole; of main memory, what other programs leave, within the limit of our group."""

    main: int
    gpus: tuple[int, ...] = ()
    shares: int = 1  # GPUs that the model is split over
    gpu_share: float = DEFAULT_GPU_SHARE  # of a GPU's memory


class MachineFacts(msgspec.Struct, frozen=True):
    """What the kernel says. None: it does not, or nothing asks for it."""

    disk_free: int | None = None  # bytes, where DATA_DIR is
    descriptors: tuple[int, int] | None = None  # soft and hard limit; below 0: none
    overcommit: int | None = None
    huge_pages: str | None = None  # the mode that is set: always, madvise or never
    embedded_redis: bool = True


def weights(folder: str, model: ModelFacts) -> Finding:
    """Whether the folder holds the model."""
    if model.weights is None:
        return Finding(False, "Model", f"{folder} has no weights: fetch the model again, or name another MODEL")
    said = f"{folder} with {model.weights / 1e6:.0f} MB of weights"
    if model.missing:
        return Finding(False, "Model", f"{said}, of which {size(model.missing)} are not there: fetch the model again")
    return Finding(True, "Model", said)


def memory(model: ModelFacts, found: MemoryFacts) -> Iterator[Finding]:
    """Whether weights and the cache of one full context fit."""
    if model.weights is None:
        yield Finding(True, "Memory", f"{_room(found)}; how much the model needs is known once it is here")
        return
    has, overhead = _available(found)
    contexts = 1 if found.gpus else CPU_CONTEXTS
    known = model.token_cache is not None and model.context is not None
    context = contexts * (model.token_cache or 0) * (model.context or 0) if known else None
    need = model.weights + overhead + (context or 0)
    parts = f"{size(model.weights)} of weights"
    if context is not None:
        count = "one context" if contexts == 1 else f"{contexts} contexts"
        parts += f", {size(context)} of cache for {count} of {model.context} tokens"
    parts += f" and {size(overhead)} beside them"
    said = f"{_room(found)}; {parts} are needed, {size(need)} in all"
    if need <= has:
        yield Finding(True, "Memory", said)
    elif model.weights + overhead > has:
        yield Finding(False, "Memory", f"{said}: take a smaller or quantized model, or a larger machine")
    else:
        tokens = int((has - model.weights - overhead) / (contexts * (model.token_cache or 1)))
        yield Finding(
            False,
            "Memory",
            f"{said}: set a shorter context, as '-- --max-model-len {_round_down(tokens)}', or free memory",
        )


def _available(found: MemoryFacts) -> tuple[int, int]:
    """Bytes for the model, and how many of them are not for weights and cache."""
    if not found.gpus:
        return found.main, CPU_OVERHEAD
    used = sorted(found.gpus, reverse=True)[: found.shares]
    # Weights are split evenly, so the smallest GPU decides.
    return int(min(used) * len(used) * found.gpu_share), GPU_OVERHEAD * len(used)


def _room(found: MemoryFacts) -> str:
    if not found.gpus:
        return f"{size(found.main)} of main memory are free"
    count = min(found.shares, len(found.gpus))
    has, _ = _available(found)
    return f"{size(has)} on {count} GPU{'s' * (count > 1)} may be used"


def _round_down(tokens: int) -> int:
    return max(tokens // 256 * 256, 1)


def machine(facts: MachineFacts) -> Iterator[Finding]:
    """Disk, descriptors, and what the kernel does with memory."""
    yield from _disk(facts)
    yield from _descriptors(facts)
    if facts.embedded_redis:
        yield from _overcommit(facts)
        yield from _huge_pages(facts)


def _disk(facts: MachineFacts) -> Iterator[Finding]:
    free = facts.disk_free
    if free is None:
        return
    said = f"{size(free)} are free where DATA_DIR is"
    if not facts.embedded_redis:
        yield Finding(True, "Disk", said)
    elif free < SPARE_DISK:
        yield Finding(False, "Disk", f"{said}; {size(SPARE_DISK)} are needed: free some, or name another DATA_DIR")
    elif free < LOW_DISK:
        yield Finding(True, "Disk", f"{said}, which is little: a file of Redis that is rewritten is there twice")
    else:
        yield Finding(True, "Disk", said)


def _descriptors(facts: MachineFacts) -> Iterator[Finding]:
    if facts.descriptors is None:
        return
    soft, hard = facts.descriptors
    if soft < 0 or soft >= GOOD_DESCRIPTORS:
        yield Finding(True, "Files", f"{'any number of' if soft < 0 else soft} descriptors may be open")
        return
    raised = f"'ulimit -n {GOOD_DESCRIPTORS if hard < 0 else min(hard, GOOD_DESCRIPTORS)}'"
    well = soft >= LEAST_DESCRIPTORS
    said = f"{soft} descriptors may be open, one for each client"
    need = f"{LEAST_DESCRIPTORS} are needed" if not well else f"{GOOD_DESCRIPTORS} are better"
    advice = raised if hard < 0 or hard > soft else "a higher LimitNOFILE or --ulimit"
    yield Finding(well, "Files", f"{said}; {need}: {advice}")


def _overcommit(facts: MachineFacts) -> Iterator[Finding]:
    mode = facts.overcommit
    if mode is None:
        return
    said = f"vm.overcommit_memory is {mode}"
    if mode == ALWAYS:
        yield Finding(True, "Kernel", said)
        return
    todo = "set it to 1: 'sysctl -w vm.overcommit_memory=1'"
    if mode == STRICT:
        why = "Redis cannot make the copy of itself that rewrites its file, and vLLM reserves more than it uses"
        yield Finding(False, "Kernel", f"{said}: {why}; {todo}")
    else:
        why = "with more than half of the memory in use Redis may be unable to rewrite its file"
        yield Finding(True, "Kernel", f"{said}: {why}; {todo}")


def _huge_pages(facts: MachineFacts) -> Iterator[Finding]:
    if facts.huge_pages == "always":
        # Redis switches them off for itself (`disable-thp`), so that nothing has to be put right.
        yield Finding(True, "Kernel", "transparent huge pages are on; our Redis does without them by itself")


def collector(endpoint: str, trouble: str | None) -> Finding:
    """Whether the collector of traces and metrics answers."""
    if trouble is None:
        return Finding(True, "Traces", f"{endpoint} answers")
    what = "a node runs without it, and what it would be told is lost"
    return Finding(
        False,
        "Traces",
        f"OTEL_EXPORTER_OTLP_ENDPOINT: {endpoint} does not answer ({trouble}); {what}: start it, or empty the setting",
    )


def size(count: int) -> str:
    """A number of bytes as a person says it."""
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{count / (1 << 20):.0f} MiB"
