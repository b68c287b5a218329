"""The turns that wait for a slot of this node."""

from collections import deque
from collections.abc import Collection, Iterator

import msgspec

from server.store.base import Lease, Ref, Turn
from server.telemetry.instruments import Facts
from server.turns.spec import Record, unpack


class Place(msgspec.Struct, frozen=True):
    """A turn that this node is to run. `seen` is the lease that it had before, None in the queue."""

    ref: Ref
    record: Record
    facts: Facts | None = None  # None: begun by another process
    seen: Lease | None = None
    suspect: bool = False  # somebody died while running it, and its log has not grown since


def place_of(turn: Turn) -> Place:
    """Where another process's turn goes on. Raises KeyError, ValueError, msgspec.DecodeError as `unpack` does."""
    died = turn.lease is not None and not turn.offered
    return Place(turn.ref, unpack(turn.record), None, turn.lease, suspect=died and turn.idle_claims > 0)


class Line:
    """By age; what was running comes before what only waited."""

    def __init__(self) -> None:
        self._places: deque[Place] = deque()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def join(self, place: Place) -> None:
        """Behind all that come first."""
        at = len(self._places)
        while at and _order(place) < _order(self._places[at - 1]):
            at -= 1
        self._places.insert(at, place)

    def leave(self, ref: Ref) -> Place | None:
        """Take this turn out."""
        place = next((place for place in self._places if place.ref == ref), None)
        if place is not None:
            self._places.remove(place)
        return place

    def next(self, suspects: Collection[Ref]) -> Place | None:
        """Take out who comes first. While a suspect runs, others wait: when it kills the node, it goes alone."""
        alone = not suspects
        place = next((place for place in self._places if alone or not place.suspect), None)
        return None if place is None else self.leave(place.ref)

    def position(self, ref: Ref) -> int | None:
        """From 1."""
        return next((index for index, place in enumerate(self._places, 1) if place.ref == ref), None)


def _order(place: Place) -> tuple[bool, float]:
    return place.seen is None, place.record.asked
