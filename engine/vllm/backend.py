"""Which grammar library an engine uses, where its operator chose none.

vLLM's `auto` chooses one for the first request with a schema, and all later ones go to that library whatever it makes
of them. llguidance compiles as it goes, which bounds what a schema costs, and refuses by name what it does not follow;
xgrammar ignores much of it. But vLLM describes calls that are not in JSON to xgrammar alone.
"""

from typing import Any

from openai.types.responses.function_tool import FunctionTool
from vllm.config import VllmConfig
from vllm.parser import ParserManager
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.tool_parsers.structural_tag_registry import get_model_structural_tag
from vllm.v1.structured_output.backend_guidance import GuidanceBackend

from engine.vllm.grammars import GUIDANCE
from engine.vllm.lark import LarkGrammar, Untranslatable

XGRAMMAR = "xgrammar"


def grammar_backend(config: VllmConfig, tool_parser: str | None) -> str:
    """The name of the library in vLLM's own words."""
    if config.model_config.skip_tokenizer_init or not translates(tool_parser):
        return XGRAMMAR
    tokenizer = cached_tokenizer_from_config(config.model_config)
    return GUIDANCE if GuidanceBackend.is_tokenizer_supported(tokenizer) else XGRAMMAR


def translates(tool_parser: str | None) -> bool:
    """Whether calls of this parser, as far as vLLM describes them, can be said in llguidance's words."""
    if not tool_parser:
        return True
    parser: Any = ParserManager.get_tool_parser(tool_parser, enable_auto_tools=True)
    model = getattr(parser, "structural_tag_model", None)
    if model is None:
        return True
    schema: dict[str, object] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    tool = FunctionTool(type="function", name="f", parameters=schema, strict=True)
    try:
        tag = get_model_structural_tag(model, [tool], "required", reasoning=False)
        if tag is not None:
            LarkGrammar(AnyToken(), flexible_whitespace=False).of_tag(tag.model_dump())
    except (Untranslatable, ValueError):
        return False
    return True


class AnyToken(dict[str, int]):
    """Special tokens before the tokenizer is there: every name of one counts."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> int:
        return 0
