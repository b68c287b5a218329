"""What one generation has not handed over yet stays a number in vLLM, where a token costs no object.

vLLM makes an output of each token, or of every so many (`stream_interval`), which would keep the last words of an
engine that became slow. Here it makes one when whoever reads it wants the next, and that is a time.
"""

import asyncio
import math
import sys
from collections.abc import Callable
from typing import Any

EARLY = 0.001  # seconds; timers of uvloop count whole milliseconds


class Gathering:
    """The generations of one engine that gather. One timer serves them all."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], float] = {}
        self._next = math.inf  # what the timer waits for
        self._timer: asyncio.TimerHandle | None = None

    def until(self, due: float, fetch: Callable[[], None]) -> None:
        """Call `fetch` once, at this time of the loop's clock or a little later."""
        self._due[fetch] = due
        if due < self._next:
            self._arm(due)

    def forget(self, fetch: Callable[[], None]) -> None:
        """It need not be called any more."""
        self._due.pop(fetch, None)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = due
        self._timer = asyncio.get_running_loop().call_at(due + EARLY, self._over)

    def _over(self) -> None:
        self._next = math.inf
        now = asyncio.get_running_loop().time()
        for fetch in [fetch for fetch, due in self._due.items() if due <= now]:
            del self._due[fetch]
            fetch()
        if self._due and (due := min(self._due.values())) < self._next:
            self._arm(due)


class Unsent:
    """One generation's tokens in vLLM's own state (`vllm.v1.engine.output_processor.RequestState`)."""

    def __init__(self, state: Any) -> None:
        self._state = state
        self._interval: int = state.stream_interval

    def hold(self) -> None:
        """All that is there was handed over: make no more outputs but the last, which has the rest."""
        self._state.sent_tokens_offset = self._state.detokenizer.num_output_tokens()
        self._state.stream_interval = sys.maxsize

    def fetch(self) -> Any:
        """One output of what came since; None, where nothing did. From here on each token makes its own again."""
        state = self._state
        state.stream_interval = 1  # all ids are in what is made now
        ids = state.detokenizer.output_token_ids[state.sent_tokens_offset :]
        output = state.make_request_output(ids, None, None, None) if ids else None
        state.sent_tokens_offset += len(ids)
        state.stream_interval = self._interval
        return output
