"""From a user's options to a running AsyncLLM. Imports vllm: seconds, and all of it blocks, so call it in a thread."""

import contextlib
import hashlib
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil  # type: ignore[import-untyped]
import vllm.envs
from pydantic import ValidationError
from vllm.config import StructuredOutputsConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.parser import ParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor import Executor
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from engine.base import EngineError
from engine.vllm.process import on_cpu

# Compiling takes longer than the first hundred answers; the share of memory is a limit there, not a wish.
CPU = {"enforce_eager": True, "gpu_memory_utilization": 0.2}
MAX_CPU_CACHE = 4 << 30  # bytes; more is an explicit --kv-cache-memory-bytes
SAMPLE = 1 << 16  # bytes read at three places of every file of weights


class _Options(FlexibleArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        raise EngineError(f"engine options: {message}")


def parse(model: str, name: str, options: Sequence[str]) -> Namespace:
    """vLLM's own engine options and the few of its server that say how to read a model's text."""
    parser = _Options(prog="vllm", add_help=False, allow_abbrev=False)
    AsyncEngineArgs.add_cli_args(parser)
    parser.add_argument("--tool-call-parser")
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--chat-template")
    parser.add_argument("--chat-template-content-format", default="auto", choices=("auto", "string", "openai"))
    parser.set_defaults(disable_log_stats=True, use_tqdm_on_load=False, **(CPU if on_cpu() else {}))
    args: Namespace = parser.parse_args([*options, "--model", model, "--served-model-name", name])
    _check_parsers(args)
    args.chat_template = _template(args.chat_template)
    return args


def _check_parsers(args: Namespace) -> None:
    """Before the engine starts: afterwards it would be a waste of minutes."""
    try:
        ParserManager.get_reasoning_parser(args.reasoning_parser)
    except TypeError as error:
        raise EngineError(f"engine options: --reasoning-parser: {error.__cause__ or error}") from error
    try:
        ParserManager.get_tool_parser(args.tool_call_parser, enable_auto_tools=True)
    except TypeError as error:
        raise EngineError(f"engine options: --tool-call-parser: {error.__cause__ or error}") from error


def _template(given: str | None) -> str | None:
    """A path to a template or the template itself, as vLLM's server takes it."""
    if given is None or "{" in given:
        return given
    try:
        return Path(given).read_text()
    except OSError as error:
        raise EngineError(f"engine options: --chat-template: {error}") from error


def launch(args: Namespace) -> AsyncLLM:
    """Start the engine's processes and wait until the model is loaded."""
    try:
        compact = args.structured_outputs_config == StructuredOutputsConfig()
        config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
        if compact:
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


def version(llm: AsyncLLM, args: Namespace) -> str:
    """A digest of what decides which ids a chat becomes and which text follows, equal on every node that serves the
    same model.
    """
    config = llm.model_config
    parts = [config.dtype, config.quantization, config.max_model_len, args.reasoning_parser, args.tool_call_parser]
    parts += [args.chat_template, args.chat_template_content_format]
    for place in dict.fromkeys((config.model, config.tokenizer)):
        if Path(place).is_dir():
            parts += [_file_digest(file) for file in sorted(Path(place).iterdir()) if _decides(file)]
        else:
            parts += [place, getattr(config.hf_config, "_commit_hash", None) or config.revision]
    return hashlib.sha256(repr([str(part) for part in parts]).encode()).hexdigest()[:16]


def _decides(file: Path) -> bool:
    return file.is_file() and file.suffix in {".json", ".safetensors", ".bin", ".gguf", ".model", ".jinja", ".txt"}


def renders_alike(llm: AsyncLLM, args: Namespace) -> bool:
    """Whether the chat template reads no clock. Where it cannot be seen, it may."""
    template = args.chat_template or getattr(llm.get_tokenizer(), "chat_template", None)
    return template is not None and "strftime_now" not in str(template)


def _file_digest(file: Path) -> str:
    """Of name, size and three samples: reading 100 GiB of weights at every start would take minutes."""
    size = file.stat().st_size
    digest = hashlib.sha256(f"{file.name} {size}".encode())
    with file.open("rb") as stream:
        for offset in (0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)):
            stream.seek(offset)
            digest.update(stream.read(SAMPLE))
    return digest.hexdigest()


def pids(llm: AsyncLLM) -> list[int]:
    """The engine's processes that this one started."""
    manager = llm.engine_core.resources.engine_manager
    return [process.pid for process in getattr(manager, "processes", ())]


def defaults(llm: AsyncLLM) -> dict[str, Any]:
    """The sampling that the model's authors recommend; vLLM leaves applying it to its callers."""
    return dict(llm.model_config.get_diff_sampling_param())
