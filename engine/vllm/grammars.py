"""Tries grammars out before the engine gets them, away from the event loop."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llguidance
import llguidance.hf
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.utils.mistral import is_mistral_tokenizer
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.structured_output.backend_guidance import serialize_guidance_grammar
from vllm.v1.structured_output.request import get_structured_output_key

GUIDANCE = "guidance"
TOO_COMPLEX = "is too complex to follow"
_LIMITS = ("fuel", "too many", "too large", "too complex", "exceeded", "panic", "items; max", "limit")


class Grammars:
    """What the engine's one grammar library makes of a grammar; see `launch` for which one it is."""

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm
        self._config = llm.vllm_config.structured_outputs_config
        self.backend: str = self._config.backend
        self._tokenizer: Any = _llguidance_tokenizer(llm) if self.backend == GUIDANCE else None
        self.special = self._special_tokens()

    @property
    def flexible_whitespace(self) -> bool:
        """Whether JSON may have white space between its parts."""
        return not self._config.disable_any_whitespace

    def refusal(self, outputs: StructuredOutputsParams) -> str | None:
        """Why this grammar cannot be followed; None for one that can. Compiles it, which may take long: blocks."""
        if self.backend != GUIDANCE:
            return self._refusal_of_vllm(outputs)
        try:
            grammar = serialize_guidance_grammar(
                *get_structured_output_key(outputs),
                self._config.disable_any_whitespace,
                self._config.disable_additional_properties,
            )
            return self._refusal_of_llguidance(grammar)
        except (ValueError, KeyError, TypeError) as error:
            return _sentence(str(error))

    def refusal_of_schema(self, schema: dict[str, Any]) -> str | None:
        """The same for an answer in JSON."""
        return self.refusal(StructuredOutputsParams(json=json.dumps(schema)))

    def _refusal_of_llguidance(self, grammar: str) -> str | None:
        """Compile it and take the first steps: what is too much shows at the first choice between properties."""
        _, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar, self._tokenizer)
        if messages:
            return _sentence(messages[0])
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        for _ in range(2):
            if not matcher.is_error():
                matcher.compute_bitmask()
            if matcher.is_error():
                return _sentence(matcher.get_error())
            matcher.consume_tokens(matcher.compute_ff_tokens())
        return None

    def _refusal_of_vllm(self, outputs: StructuredOutputsParams) -> str | None:
        try:
            SamplingParams(structured_outputs=outputs).verify(
                self._llm.model_config, None, self._config, self._llm.get_tokenizer()
            )
        except (VLLMValidationError, ValueError) as error:
            return _sentence(str(error))
        return None

    def _special_tokens(self) -> dict[str, int]:
        """Tokens that no text of an answer stands for, by how they are written."""
        if self._tokenizer is None:
            return {}
        added = self._llm.get_tokenizer().get_added_vocab()
        return {text: id for text, id in added.items() if text and self._tokenizer.is_special_token(id)}


class TryOuts:
    """Runs what compiles grammars in a few threads of its own. One that takes too long has its thread until it ends."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience  # seconds from the call to the answer
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="grammar")

    async def run(self, work: Any, *arguments: Any) -> Any:
        """Raises TimeoutError; the work itself goes on then, and its result is lost."""
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(self._threads, work, *arguments), self._patience)

    def close(self) -> None:
        """Wait for nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _llguidance_tokenizer(llm: AsyncLLM) -> Any:
    tokenizer = llm.get_tokenizer()
    if is_mistral_tokenizer(tokenizer):
        return tokenizer.llg_tokenizer
    return llguidance.hf.from_tokenizer(tokenizer, max(llm.model_config.get_vocab_size(), len(tokenizer)))


def _sentence(message: str) -> str:
    """What a client can use of a library's message: no dumps of its state, no limits that only it knows."""
    message = message.partition("<state>")[0].partition("<backtrace>")[0].partition(" (parameter=")[0].strip()
    if any(limit in message for limit in _LIMITS):
        return TOO_COMPLEX
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[-1] if lines else "cannot be followed")[:300].removeprefix("error: ")
