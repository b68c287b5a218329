"""Params as vLLM's SamplingParams, checked in every way in which vLLM could refuse them later."""

import json
from typing import Any

import msgspec
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import BadParameter, Format, Params, Prompt
from engine.ranges import check_ranges, tokens_left

DEFAULTABLE = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


class Sampling:
    """One model's default sampling and its limits."""

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm
        # What the model's authors recommend, by vLLM's names; vLLM leaves applying it to its callers.
        self._defaults: dict[str, Any] = dict(llm.model_config.get_diff_sampling_param())
        self._context: int = llm.model_config.max_model_len

    def admit(self, prompt: Prompt, params: Params) -> Params:
        """Fill in `max_tokens` and check all parameters. Raises BadParameter, PromptTooLong."""
        check_ranges(params)
        if params.logprobs and params.top_logprobs > max(self._llm.model_config.max_logprobs, 0):
            raise BadParameter("top_logprobs", f"this model gives at most {self._llm.model_config.max_logprobs}")
        left = tokens_left(prompt, params, self._context)
        if params.max_tokens is None:
            left = min(left, self._defaults.get("max_tokens", left))
        params = msgspec.structs.replace(params, max_tokens=left)
        self.verify(self.for_vllm(params), params.format)
        return params

    def for_vllm(self, params: Params) -> SamplingParams:
        """The same as vLLM's own type. Raises BadParameter where vLLM finds something that `engine.ranges` did not."""
        try:
            return SamplingParams(
                **self._chosen(params),
                max_tokens=params.max_tokens,
                seed=params.seed,
                stop=list(params.stop),
                ignore_eos=params.ignore_eos,
                logprobs=params.top_logprobs if params.logprobs else None,
                structured_outputs=_structured(params.format),
                output_kind=RequestOutputKind.DELTA,
                skip_clone=True,  # made for one generation
            )
        except (VLLMValidationError, ValueError) as error:
            raise _refused(error, params.format) from error

    def verify(self, sampling: SamplingParams, format: Format | None) -> None:
        """What the engine would check once it has the request; a schema is compiled here for the first time."""
        config = self._llm.vllm_config
        try:
            sampling.verify(
                config.model_config,
                config.speculative_config,
                config.structured_outputs_config,
                self._llm.get_tokenizer(),
            )
        except (VLLMValidationError, ValueError) as error:
            raise _refused(error, format) from error

    def _chosen(self, params: Params) -> dict[str, Any]:
        requested = ((name, getattr(params, name)) for name in DEFAULTABLE)
        given = {name: value for name, value in requested if value is not None}
        return {name: self._defaults[name] for name in DEFAULTABLE if name in self._defaults} | given


def _refused(error: Exception, format: Format | None) -> BadParameter:
    """vLLM names the parameter when it can; what it says of a schema it says without a name."""
    name = getattr(error, "parameter", None)
    if name is None and format is not None:
        name = "text.format.schema"
    if name == "max_tokens":
        name = "max_output_tokens"
    return BadParameter(name or "input", str(error).partition(" (parameter=")[0])


def _structured(format: Format | None) -> StructuredOutputsParams | None:
    if format is None:
        return None
    if format.type == "json_object":
        return StructuredOutputsParams(json_object=True)
    return StructuredOutputsParams(json=json.dumps(format.schema or {}))
