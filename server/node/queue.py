"""The turns that wait for a slot of this node, and who comes next."""

from collections import deque
from collections.abc import Collection, Iterator

import msgspec

from server.store.types import Lease, Turn, TurnRef
from server.telemetry.instruments import TurnTelemetry
from server.turns.spec import TurnSpec, unpack


class QueuedTurn(msgspec.Struct, frozen=True):
    """A turn that this node is to run. `seen_lease` is the one that it had when it was found, None in the queue."""

    ref: TurnRef
    spec: TurnSpec
    telemetry: TurnTelemetry | None = None  # None: another process admitted it
    seen_lease: Lease | None = None
    is_suspect: bool = False  # somebody died while running it, and its log has not grown since
    is_orphan: bool = False  # its owner was found dead, and did not offer it


def queued_turn(turn: Turn) -> QueuedTurn:
    """A turn that another process admitted. Raises KeyError, ValueError, msgspec.DecodeError as `unpack` does."""
    owner_died = turn.lease is not None and not turn.offered
    is_suspect = owner_died and turn.idle_claims > 0
    return QueuedTurn(turn.ref, unpack(turn.record), None, turn.lease, is_orphan=owner_died, is_suspect=is_suspect)


class AdmissionQueue:
    """By age; what was running before comes ahead of what only waited."""

    def __init__(self) -> None:
        self._turns: deque[QueuedTurn] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[QueuedTurn]:
        return iter(self._turns)

    def push(self, turn: QueuedTurn) -> None:
        """Put a turn behind all that come before it."""
        at = len(self._turns)
        while at and _order(turn) < _order(self._turns[at - 1]):
            at -= 1
        self._turns.insert(at, turn)

    def remove(self, ref: TurnRef) -> QueuedTurn | None:
        """Take this turn out; None where it does not wait here."""
        turn = next((turn for turn in self._turns if turn.ref == ref), None)
        if turn is not None:
            self._turns.remove(turn)
        return turn

    def pop_next(self, running_suspects: Collection[TurnRef]) -> QueuedTurn | None:
        """Take out who comes first. While a suspect runs, other suspects wait: if it kills the node, it goes alone."""
        may_be_suspect = not running_suspects
        turn = next((turn for turn in self._turns if may_be_suspect or not turn.is_suspect), None)
        return None if turn is None else self.remove(turn.ref)

    def position(self, ref: TurnRef) -> int | None:
        """Counted from 1; None where it does not wait here."""
        return next((index for index, turn in enumerate(self._turns, 1) if turn.ref == ref), None)

    def clear(self) -> None:
        """Wait for nobody any more. Every queued turn is in the store too, for all nodes."""
        self._turns.clear()


def _order(turn: QueuedTurn) -> tuple[bool, float]:
    return turn.seen_lease is None, turn.spec.requested_at
