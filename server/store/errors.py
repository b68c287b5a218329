"""What a store raises.

StoreError
├── StoreDown        no answer; the write may or may not have been applied: call again
├── StoreFull        the store refuses writes (memory)
├── BadAddress       the address of the store makes no sense
└── Conflict         due to what the caller asked for, answered with a wire error
    ├── Locked           the conversation has a running turn
    ├── Moved            the conversation has grown since its end was read
    ├── KeyReused        an idempotency key came with another body
    ├── Missing          no such turn, response, item or conversation of this caller
    └── PositionLost     the log cannot be followed from there: it is gone, or events are missing
"""

from typing import TYPE_CHECKING

from server.protocol.status import Status

if TYPE_CHECKING:
    from server.store.types import TurnRef


class StoreError(Exception):
    """The base of everything that a store raises on purpose."""


class StoreDown(StoreError):  # noqa: N818
    """The store did not answer in time. Every call may be repeated."""


class StoreFull(StoreError):  # noqa: N818
    """The store refuses writes until memory or disk space is freed."""


class BadAddress(StoreError):  # noqa: N818
    """Nothing can be at such an address. The message does not repeat it, for it may hold a password."""


class Conflict(StoreError):  # noqa: N818
    """What the caller asked for contradicts what is stored."""


class Locked(Conflict):
    """A turn runs in the conversation: one at a time."""

    def __init__(self, conversation: str, turn: str) -> None:
        super().__init__(conversation, turn)
        self.conversation = conversation
        self.turn = turn


class Moved(Conflict):
    """The conversation has grown since the new turn read its end: read it again."""


class KeyReused(Conflict):
    """The idempotency key belongs to a different request."""


class Missing(Conflict):
    """Nothing of that id belongs to this caller."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(kind, id)
        self.kind = kind
        self.id = id


class PositionLost(Conflict):
    """No entry is known to follow on `after`. `status` None: the turn is gone, and `last_seq` means nothing."""

    def __init__(self, ref: "TurnRef", after: int, status: Status | None, last_seq: int) -> None:
        super().__init__(ref, after, status, last_seq)
        self.ref = ref
        self.after = after
        self.status = status
        self.last_seq = last_seq

    def __str__(self) -> str:
        if self.status is None:
            return f"the log of {self.ref.id} is gone"
        return f"no event follows on number {self.after} in the log of {self.ref.id}, which is {self.status}"
