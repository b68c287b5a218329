"""`truncation: auto`: which of the oldest items to leave out, so that the rest fits into the model's context.

Rendering is what costs, so the tokens of each item are estimated from its length, and from how many tokens the whole
rendered to. The first cut nearly always fits. Where the estimate was too low, each further cut at least halves what is
left, so that all renderings together cost about two of the whole. What has more characters than fit into the context
whatever they are is cut before it is rendered at all.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from server.protocol.items import to_messages

MARKUP = 16  # characters that a message costs besides its text, about
TIGHTER = (1.0, 0.9)  # of what should fit, for the first cuts
HALF = 0.5  # of what is left, for those after them


class Cuts:
    """Where a list of items was cut so far, and where to cut it next. `fixed` characters stay whatever is cut."""

    def __init__(self, items: Sequence[dict[str, Any]], fixed: int) -> None:
        self.dropped = 0
        self._fixed = fixed
        self._made = 0
        # Characters of all items before each one, and of all at the end.
        self._before = list(accumulate(map(_characters, items), initial=0))

    @property
    def can_cut(self) -> bool:
        """Whether more than one item is left."""
        return self.dropped < len(self._before) - 2

    def cut_to(self, characters: int) -> int:
        """Leave out as much as it takes for the rest to have no more than so many. How many items are left out then."""
        if self._before[-1] - self._before[self.dropped] > characters - self._fixed:
            self._leave_out(characters - self._fixed)
        return self.dropped

    def cut(self, tokens: int, limit: int) -> int:
        """Leave out more: what is left has `tokens`, and may have `limit`. How many items are left out then."""
        left = self._before[-1] - self._before[self.dropped]
        fitting = (left + self._fixed) * limit / tokens - self._fixed
        allowed = fitting * TIGHTER[self._made] if self._made < len(TIGHTER) else min(fitting, left * HALF)
        self._leave_out(allowed)
        self._made += 1
        return self.dropped

    def _leave_out(self, allowed: float) -> None:
        first = bisect_left(self._before, self._before[-1] - allowed, self.dropped + 1)
        self.dropped = min(first, len(self._before) - 2)


def _characters(item: dict[str, Any]) -> int:
    """About how long an item is in the prompt. 0: it does not show there."""
    count = 0
    for message in to_messages(None, (item,)):
        count += MARKUP + len(message["content"] or "") + len(message.get("reasoning", ""))
        for call in message.get("tool_calls", ()):
            count += MARKUP + len(call["function"]["name"]) + len(call["function"]["arguments"])
    return count
