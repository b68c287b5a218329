"""Params as vLLM's SamplingParams, checked in every way in which vLLM could refuse them later."""

from typing import Any

import msgspec
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import BadParameter, Params, Prompt
from engine.ranges import check_ranges, tokens_left
from engine.vllm.structure import PLAIN, Structure

DEFAULTABLE = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


class CheckedSamplingParams(SamplingParams):  # type: ignore[misc]
    """Parameters that `Sampling.admit` and `Structures` have checked, away from the event loop.

    vLLM would check them again as it takes the request, on the event loop, and compile the grammar for that.
    """

    def verify(self, *_: Any, **__: Any) -> None:
        """Pass."""


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
        self._verify(self.for_vllm(params))
        return params

    def for_vllm(self, params: Params, structure: Structure = PLAIN) -> SamplingParams:
        """The same as vLLM's own type. Raises BadParameter where vLLM finds something that `engine.ranges` did not."""
        try:
            return CheckedSamplingParams(
                **self._chosen(params),
                max_tokens=params.max_tokens,
                seed=params.seed,
                stop=list(params.stop),
                ignore_eos=params.ignore_eos,
                logprobs=params.top_logprobs if params.logprobs else None,
                structured_outputs=structure.outputs,
                skip_special_tokens=structure.skip_special_tokens,
                output_kind=RequestOutputKind.DELTA,
                skip_clone=True,  # made for one generation
            )
        except (VLLMValidationError, ValueError) as error:
            raise _refused(error) from error

    def _verify(self, sampling: SamplingParams) -> None:
        """What vLLM would check once it has the request, but for the grammar."""
        config = self._llm.vllm_config
        try:
            SamplingParams.verify(sampling, config.model_config, config.speculative_config, None, None)
        except (VLLMValidationError, ValueError) as error:
            raise _refused(error) from error

    def _chosen(self, params: Params) -> dict[str, Any]:
        requested = ((name, getattr(params, name)) for name in DEFAULTABLE)
        given = {name: value for name, value in requested if value is not None}
        return {name: self._defaults[name] for name in DEFAULTABLE if name in self._defaults} | given


def _refused(error: Exception) -> BadParameter:
    """vLLM names the parameter when it can."""
    name = getattr(error, "parameter", None)
    if name == "max_tokens":
        name = "max_output_tokens"
    return BadParameter(name or "input", str(error).partition(" (parameter=")[0])
