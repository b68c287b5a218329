"""Tokens that a sink does not want yet stay numbers in vLLM's state, where one costs no object.

vLLM makes an output of each token, or of every so many (`stream_interval`), and the latter would keep the last words of
an engine that became slow. Here it makes one when the sink wants the next, and that is a time.
"""

import asyncio
import math
import sys
from collections.abc import Callable
from typing import Any

EARLY = 0.001  # seconds by which a timer of uvloop, which counts whole milliseconds, may fire too soon


class MergeTimer:
    """Calls back the generations of one engine that hold tokens, each at its own time, with a single loop timer."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], float] = {}  # loop time of each callback
        self._next = math.inf  # loop time that the timer is set to
        self._timer: asyncio.TimerHandle | None = None

    def call_at(self, due: float, callback: Callable[[], None]) -> None:
        """Call back once, at this loop time or a little later; it replaces the callback's earlier time."""
        self._due[callback] = due
        if due < self._next:
            self._arm(due)

    def cancel(self, callback: Callable[[], None]) -> None:
        """Do not call back. Does nothing for one that is not waiting."""
        self._due.pop(callback, None)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        self._timer = asyncio.get_running_loop().call_at(due + EARLY, self._fire)

    def _fire(self) -> None:
        self._next = math.inf
        now = asyncio.get_running_loop().time()
        for callback in [callback for callback, due in self._due.items() if due <= now]:
            del self._due[callback]
            callback()
        if self._due and (due := min(self._due.values())) < self._next:
            self._arm(due)


class HeldTokens:
    """One generation's tokens that vLLM has made no output of.

    It writes to `vllm.v1.engine.output_processor.RequestState`, which is private to vLLM.
    """

    def __init__(self, state: Any) -> None:
        self._state = state
        self._interval: int = state.stream_interval

    def hold(self) -> None:
        """Make no more outputs but the last, which has all tokens since. Every token so far was handed over."""
        self._state.sent_tokens_offset = self._state.detokenizer.num_output_tokens()
        self._state.stream_interval = sys.maxsize

    def release(self) -> Any:
        """One output of the tokens since `hold`, or None. From here on each token makes its own again."""
        state = self._state
        state.stream_interval = 1  # all ids are in what is made now
        ids = state.detokenizer.output_token_ids[state.sent_tokens_offset :]
        output = state.make_request_output(ids, None, None, None) if ids else None
        state.sent_tokens_offset += len(ids)
        state.stream_interval = self._interval
        return output
