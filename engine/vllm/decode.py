"""What vLLM's outputs mean: finish reasons, log probabilities, and the ids of a continued answer as text."""

from dataclasses import dataclass
from typing import Any

from vllm.outputs import CompletionOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.detokenizer import IncrementalDetokenizer

from engine.base import EngineError, Finish, Logprob, Prompt, TokenLogprob

LOWEST = -9999.0  # JSON knows no infinity


def finish_of(reason: str | None) -> Finish | None:
    """vLLM's finish reason as ours. Raises EngineError for those that mean a failure."""
    if reason is None:
        return None
    if reason not in ("stop", "length"):
        raise EngineError(f"the engine ended this generation: {reason}")
    return Finish(reason)


def logprobs_of(completion: CompletionOutput, top: int) -> tuple[Logprob, ...]:
    """One entry per new token, the end-of-text token excepted."""
    entries = completion.logprobs or ()
    if completion.finish_reason == "stop" and not isinstance(completion.stop_reason, str):
        entries = entries[:-1]
    pairs = zip(completion.token_ids, entries, strict=False)
    return tuple(_logprob(token_id, ranked, top) for token_id, ranked in pairs)


def _logprob(token_id: int, ranked: dict[int, Any], top: int) -> Logprob:
    likeliest = sorted(ranked.values(), key=lambda entry: entry.rank)[:top]
    pairs = tuple(TokenLogprob(entry.decoded_token or "", max(entry.logprob, LOWEST)) for entry in likeliest)
    sampled = ranked[token_id]
    return Logprob(sampled.decoded_token or "", max(sampled.logprob, LOWEST), pairs)


@dataclass(frozen=True)
class _Request:
    """The three fields of an EngineCoreRequest that vLLM's detokenizer reads."""

    request_id: str
    prompt_token_ids: list[int]
    sampling_params: SamplingParams


class Redecoder:
    """vLLM's own detokenizer and stop strings, run here: a continuation's engine never saw the first half as output.

    In an engine that gets prompt and said ids as its prompt, a character or a stop string that lies across the cut
    would come out wrong.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, sampling: SamplingParams) -> None:
        request = _Request("continuation", list(prompt.token_ids), sampling)
        self._detokenizer = IncrementalDetokenizer.from_new_request(tokenizer, request)

    def feed(self, ids: list[int], reason: str | None) -> tuple[str, bool]:
        """The text that is settled now, and whether a stop string ended it."""
        stopped = self._detokenizer.update(ids, reason == "stop") is not None
        return self._detokenizer.get_next_output_text(stopped or reason is not None, True), stopped
