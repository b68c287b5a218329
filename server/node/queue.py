"""The turns that wait for a slot of this node."""

from collections import deque
from collections.abc import Collection, Iterator

import msgspec

from server.store.types import Lease, Turn, TurnRef
from server.telemetry.instruments import TurnTelemetry
from server.turns.spec import TurnSpec, unpack


class QueuedTurn(msgspec.Struct, frozen=True):
    """A turn that this node is to run. `seen` is the lease that it had before, None in the queue."""

    ref: TurnRef
    spec: TurnSpec
    telemetry: TurnTelemetry | None = None  # None: begun by another process
    seen_lease: Lease | None = None
    suspect: bool = False  # somebody died while running it, and its log has not grown since


def queued_turn(turn: Turn) -> QueuedTurn:
    """Where another process's turn goes on. Raises KeyError, ValueError, msgspec.DecodeError as `unpack` does."""
    died = turn.lease is not None and not turn.offered
    return QueuedTurn(turn.ref, unpack(turn.record), None, turn.lease, suspect=died and turn.idle_claims > 0)


class AdmissionQueue:
    """By age; what was running comes before what only waited."""

    def __init__(self) -> None:
        self._places: deque[QueuedTurn] = deque()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[QueuedTurn]:
        return iter(self._places)

    def push(self, place: QueuedTurn) -> None:
        """Behind all that come first."""
        at = len(self._places)
        while at and _order(place) < _order(self._places[at - 1]):
            at -= 1
        self._places.insert(at, place)

    def remove(self, ref: TurnRef) -> QueuedTurn | None:
        """Take this turn out."""
        place = next((place for place in self._places if place.ref == ref), None)
        if place is not None:
            self._places.remove(place)
        return place

    def pop_next(self, suspects: Collection[TurnRef]) -> QueuedTurn | None:
        """Take out who comes first. While a suspect runs, others wait: when it kills the node, it goes alone."""
        alone = not suspects
        place = next((place for place in self._places if alone or not place.suspect), None)
        return None if place is None else self.remove(place.ref)

    def position(self, ref: TurnRef) -> int | None:
        """From 1."""
        return next((index for index, place in enumerate(self._places, 1) if place.ref == ref), None)


def _order(place: QueuedTurn) -> tuple[bool, float]:
    return place.seen_lease is None, place.spec.requested_at
