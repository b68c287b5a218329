"""What an operator may write behind `--`: vLLM's own engine options and the few of its server that matter here."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.parser import ParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

from engine.base import EngineError
from engine.vllm.process import on_cpu

# Compiling takes longer than the first hundred answers; the share of memory is a limit there, not a wish.
CPU_DEFAULTS = {"enforce_eager": True, "gpu_memory_utilization": 0.2}


class _ArgumentParser(FlexibleArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        raise EngineError(f"engine options: {message}")


def parse(model: str, name: str, options: Sequence[str]) -> Namespace:
    """Read the options as `vllm serve` would. Raises EngineError that names the option."""
    parser = _ArgumentParser(prog="vllm", add_help=False, allow_abbrev=False)
    AsyncEngineArgs.add_cli_args(parser)
    parser.add_argument("--tool-call-parser")
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--chat-template")
    parser.add_argument("--chat-template-content-format", default="auto", choices=("auto", "string", "openai"))
    parser.set_defaults(disable_log_stats=True, use_tqdm_on_load=False, **(CPU_DEFAULTS if on_cpu() else {}))
    args: Namespace = parser.parse_args([*options, "--model", model, "--served-model-name", name])
    _check_parsers(args)
    args.chat_template = _template_text(args.chat_template)
    return args


def _check_parsers(args: Namespace) -> None:
    """Refuse unknown parsers before the model is loaded: afterwards it would be a waste of minutes."""
    try:
        ParserManager.get_reasoning_parser(args.reasoning_parser)
    except TypeError as error:
        raise EngineError(f"engine options: --reasoning-parser: {error.__cause__ or error}") from error
    try:
        ParserManager.get_tool_parser(args.tool_call_parser, enable_auto_tools=True)
    except TypeError as error:
        raise EngineError(f"engine options: --tool-call-parser: {error.__cause__ or error}") from error


def _template_text(given: str | None) -> str | None:
    """A path to a template or the template itself, as vLLM's server takes it."""
    if given is None or "{" in given:
        return given
    try:
        return Path(given).read_text()
    except OSError as error:
        raise EngineError(f"engine options: --chat-template: {error}") from error
