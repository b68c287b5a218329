"""Who watches the turns that nothing is kept of: one that nobody watches is not worth a slot."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.store.types import TurnRef


class Presence:
    """Counts this node's subscriptions of each turn.

    A turn that requires a watcher (`store: false`) and has had none for `grace` seconds is given to `on_unwatched`; it
    is for the owner to find out whether somebody watches on another node.
    """

    def __init__(self, grace: float, on_unwatched: Callable[[TurnRef], None]) -> None:
        self.grace = grace  # seconds
        self._on_unwatched = on_unwatched
        self._watchers: Counter[TurnRef] = Counter()
        self._required: set[TurnRef] = set()
        self._timers: dict[TurnRef, asyncio.TimerHandle] = {}  # of required turns without a watcher
        self._reports: dict[TurnRef, int] = {}  # of watchers on other nodes, as last counted

    def require(self, ref: TurnRef) -> None:
        """From now on somebody must watch this turn."""
        self._required.add(ref)
        self._arm(ref)

    def on_remote_report(self, ref: TurnRef, reports: int) -> bool:
        """Take how often other nodes have reported watchers. Whether that is more than before: then wait on."""
        if reports <= self._reports.get(ref, 0) or ref not in self._required:
            return False
        self._reports[ref] = reports
        self._arm(ref)
        return True

    def is_watched(self, ref: TurnRef) -> bool:
        """Whether somebody watches it on this node."""
        return ref in self._watchers

    def forget(self, ref: TurnRef) -> None:
        """The turn is over, or another node's."""
        self._required.discard(ref)
        self._reports.pop(ref, None)
        self._disarm(ref)

    @contextmanager
    def watching(self, ref: TurnRef) -> Iterator[None]:
        """Count one more watcher while the block runs."""
        self._watchers[ref] += 1
        self._disarm(ref)
        try:
            yield
        finally:
            self._watchers[ref] -= 1
            if not self._watchers[ref]:
                del self._watchers[ref]
                self._arm(ref)

    def watched_turns(self) -> int:
        """How many turns have a watcher on this node."""
        return len(self._watchers)

    def close(self) -> None:
        """Report nothing any more."""
        for ref in list(self._required):
            self.forget(ref)

    def _arm(self, ref: TurnRef) -> None:
        if ref in self._required and ref not in self._watchers and ref not in self._timers:
            self._timers[ref] = asyncio.get_running_loop().call_later(self.grace, self._expire, ref)

    def _disarm(self, ref: TurnRef) -> None:
        timer = self._timers.pop(ref, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, ref: TurnRef) -> None:
        del self._timers[ref]
        self._on_unwatched(ref)
