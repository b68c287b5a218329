"""Who looks at the turns that nothing is kept of: one that nobody looks at is not worth a slot."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.store.types import TurnRef


class Presence:
    """Counts viewers on this node. A turn that is expected to have one and has none for `grace` seconds is given up."""

    def __init__(self, grace: float, give_up: Callable[[TurnRef], None]) -> None:
        self.grace = grace
        self._give_up = give_up
        self._viewers: Counter[TurnRef] = Counter()
        self._expected: set[TurnRef] = set()
        self._timers: dict[TurnRef, asyncio.TimerHandle] = {}  # of turns without a viewer
        self._looks: dict[TurnRef, int] = {}  # how often other nodes had said that they have viewers

    def require(self, ref: TurnRef) -> None:
        """From now on somebody must look at this turn."""
        self._expected.add(ref)
        self._arm(ref)

    def on_remote_report(self, ref: TurnRef, looks: int) -> bool:
        """Take how often other nodes said that they have viewers. More than before: somebody looks, wait on."""
        if looks <= self._looks.get(ref, 0) or ref not in self._expected:
            return False
        self._looks[ref] = looks
        self._arm(ref)
        return True

    def is_watched(self, ref: TurnRef) -> bool:
        """Whether somebody looks at it here."""
        return ref in self._viewers

    def forget(self, ref: TurnRef) -> None:
        """The turn is over, or not ours."""
        self._expected.discard(ref)
        self._looks.pop(ref, None)
        self._disarm(ref)

    @contextmanager
    def watching(self, ref: TurnRef) -> Iterator[None]:
        """Somebody looks."""
        self._viewers[ref] += 1
        self._disarm(ref)
        try:
            yield
        finally:
            self._viewers[ref] -= 1
            if not self._viewers[ref]:
                del self._viewers[ref]
                self._arm(ref)

    def watched_turns(self) -> int:
        """How many turns have a viewer here."""
        return len(self._viewers)

    def close(self) -> None:
        """Give up nothing any more."""
        for ref in list(self._expected):
            self.forget(ref)

    def _arm(self, ref: TurnRef) -> None:
        if ref in self._expected and ref not in self._viewers and ref not in self._timers:
            self._timers[ref] = asyncio.get_running_loop().call_later(self.grace, self._late, ref)

    def _disarm(self, ref: TurnRef) -> None:
        timer = self._timers.pop(ref, None)
        if timer is not None:
            timer.cancel()

    def _late(self, ref: TurnRef) -> None:
        del self._timers[ref]
        self._give_up(ref)
