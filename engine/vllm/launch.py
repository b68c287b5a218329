"""Starts the engine: from parsed options to a running AsyncLLM. All of it blocks, so call it in a thread."""

import contextlib
import os
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]
import vllm.envs
from pydantic import ValidationError
from vllm.config import StructuredOutputsConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor import Executor
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from engine.base import EngineError
from engine.vllm.backend import grammar_backend
from engine.vllm.process import on_cpu

MAX_CPU_CACHE = 4 << 30  # bytes; more is an explicit --kv-cache-memory-bytes


def launch(args: Namespace) -> AsyncLLM:
    """Start the engine's processes and wait until the model is loaded. Raises EngineError."""
    try:
        untouched = args.structured_outputs_config == StructuredOutputsConfig()
        config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
        if config.structured_outputs_config.backend == "auto":
            config.structured_outputs_config.backend = grammar_backend(config, args.tool_call_parser)
        if untouched:
            # No schema keeps a small model from writing white space until its tokens are used up.
            config.structured_outputs_config.disable_any_whitespace = True
        executor = _size_for_cpu(config, args) if on_cpu() else Executor.get_class(config)
        with _forkserver():
            return AsyncLLM(
                config, executor, log_stats=not args.disable_log_stats, log_requests=args.enable_log_requests
            )
    except ValidationError as error:
        raise EngineError(f"engine options: {_sentence(error)}") from error
    except Exception as error:
        raise EngineError(f"the model {args.model} cannot be loaded: {error}") from error


def _sentence(error: ValidationError) -> str:
    """The first complaint, with the option that it is about where the complaint does not name it."""
    first = error.errors()[0]
    option = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][:1])
    return option + first["msg"].removeprefix("Value error, ")


def _size_for_cpu(config: VllmConfig, args: Namespace) -> Any:
    """A cache that fits beside other programs, and one process instead of two where the model needs no more."""
    given = args.kv_cache_memory_bytes is not None or os.environ.get("VLLM_CPU_KVCACHE_SPACE")
    if not given:
        config.cache_config.kv_cache_memory_bytes = _cache_bytes(config, psutil.virtual_memory().available)
    if config.parallel_config.world_size > 1 or args.distributed_executor_backend is not None:
        return Executor.get_class(config)
    config.parallel_config.distributed_executor_backend = "uni"
    return UniProcExecutor


def _cache_bytes(config: VllmConfig, available: int) -> int:
    """Room for all slots at full length if that is little; never less than two full contexts."""
    model, parallel = config.model_config, config.parallel_config
    width = model.get_num_kv_heads(parallel) * model.get_head_size()
    token = 2 * model.get_num_layers(parallel) * width * model.dtype.itemsize
    context = token * (model.max_model_len + config.cache_config.block_size)
    wanted = min(context * config.scheduler_config.max_num_seqs, MAX_CPU_CACHE, available // 8)
    return int(max(wanted, 2 * context))


@contextlib.contextmanager
def _forkserver() -> Iterator[None]:
    """vLLM accepts only fork and spawn in the variable; the attribute in its place takes any method."""
    vllm.envs.VLLM_WORKER_MULTIPROC_METHOD = "forkserver"
    try:
        yield
    finally:
        del vllm.envs.VLLM_WORKER_MULTIPROC_METHOD


def pids(llm: AsyncLLM) -> list[int]:
    """The engine's processes that this one started."""
    manager = llm.engine_core.resources.engine_manager
    return [process.pid for process in getattr(manager, "processes", ())]
