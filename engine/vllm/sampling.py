"""Params as vLLM's SamplingParams, checked in every way in which vLLM could refuse them later."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import BadParameter, Format, Params, Prompt
from engine.ranges import check, room

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
    """Knows one model's default sampling and limits."""

    def __init__(self, llm: AsyncLLM, defaults: Mapping[str, Any]) -> None:
        self._llm = llm
        self._defaults = defaults  # what the model's authors recommend, by vLLM's names
        self._context: int = llm.model_config.max_model_len

    def admit(self, prompt: Prompt, params: Params) -> Params:
        check(params)
        if params.logprobs and params.top_logprobs > max(self._llm.model_config.max_logprobs, 0):
            raise BadParameter("top_logprobs", f"this model gives at most {self._llm.model_config.max_logprobs}")
        left = room(prompt, params, self._context)
        if params.max_tokens is None:
            left = min(left, self._defaults.get("max_tokens", left))
        params = msgspec.structs.replace(params, max_tokens=left)
        self.verify(self.of(params), params.format)
        return params

    def of(self, params: Params) -> SamplingParams:
        """Raises BadParameter where vLLM finds something that `engine.ranges` did not."""
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
            raise refused(error, params.format) from error

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
            raise refused(error, format) from error

    def _chosen(self, params: Params) -> dict[str, Any]:
        own = ((name, getattr(params, name)) for name in DEFAULTABLE)
        given = {name: value for name, value in own if value is not None}
        return {name: self._defaults[name] for name in DEFAULTABLE if name in self._defaults} | given


def refused(error: Exception, format: Format | None) -> BadParameter:
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
