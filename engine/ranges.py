"""The ranges of sampling parameters that every engine keeps, checked under their names on the wire."""

import math
from collections.abc import Callable
from typing import Any

from engine.base import BadParameter, Params, Prompt, PromptTooLong

MAX_STOP = 16
MAX_STOP_LENGTH = 1024  # text is held back for as long as the longest one
MAX_TOP_LOGPROBS = 20
INT64 = 2**63


def check_ranges(params: Params) -> None:
    """Raise BadParameter for the first one out of its range."""
    for name, legal, rule in _RULES:
        value = getattr(params, name)
        if value is not None and not legal(value):
            raise BadParameter("max_output_tokens" if name == "max_tokens" else name, rule)
    _check_stop(params.stop)
    if params.format is not None and params.format.type not in ("json_object", "json_schema"):
        raise BadParameter("text.format.type", "must be json_object or json_schema")


def tokens_left(prompt: Prompt, params: Params, context: int) -> int:
    """The most tokens that the answer may have. Raises PromptTooLong when there is room for none."""
    left = context - len(prompt.token_ids)
    if left < 1:
        raise PromptTooLong(len(prompt.token_ids), context)
    return left if params.max_tokens is None else min(left, params.max_tokens)


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: _finite(value) and low <= value <= high


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("max_tokens", _integer(1, INT64 - 1), "must be a whole number of at least 1"),
    ("temperature", _between(0, 2), "must be a number from 0 to 2"),
    ("top_p", lambda value: _finite(value) and 0 < value <= 1, "must be a number above 0 and at most 1"),
    ("top_k", _integer(-1, 2**31 - 1), "must be a whole number of at least -1"),
    ("min_p", _between(0, 1), "must be a number from 0 to 1"),
    ("seed", _integer(-INT64, INT64 - 1), "must be a 64-bit whole number"),
    ("presence_penalty", _between(-2, 2), "must be a number from -2 to 2"),
    ("frequency_penalty", _between(-2, 2), "must be a number from -2 to 2"),
    ("repetition_penalty", lambda value: _finite(value) and value > 0, "must be a number above 0"),
    ("top_logprobs", _integer(0, MAX_TOP_LOGPROBS), f"must be a whole number from 0 to {MAX_TOP_LOGPROBS}"),
)


def _check_stop(stop: tuple[str, ...]) -> None:
    if len(stop) > MAX_STOP:
        raise BadParameter("stop", f"may hold at most {MAX_STOP} strings")
    if not all(isinstance(text, str) and 0 < len(text) <= MAX_STOP_LENGTH for text in stop):
        raise BadParameter("stop", f"every string must have 1 to {MAX_STOP_LENGTH} characters")
