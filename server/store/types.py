"""What stores keep of turns, responses, conversations and nodes, as plain values.

A log is a list of entries; every event in it has a number, its sequence number, from 0 and without gaps but for holes.
An entry is identified by the number of its last event, its `last_seq`.
"""

from enum import StrEnum
from typing import Any

import msgspec

from server.protocol.status import Status


class TurnRef(msgspec.Struct, frozen=True, gc=False):
    """Names a turn. The caller decides the partition, the id is unique everywhere."""

    caller: str
    id: str


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to write one turn's log. Both parts are always compared together."""

    fence: int  # rises with every claim, from 1
    owner: str  # incarnation of a node: random per process start


HOLE = 1000  # sequence numbers that a claim skips where the store may have lost entries


class WriteStatus(StrEnum):
    """How a guarded write ended."""

    OK = "ok"
    DUPLICATE = "duplicate"  # it had been applied before
    FENCED = "fenced"  # somebody else holds the lease
    GAP = "gap"  # the log ends below the position that was expected
    LOST = "lost"  # the turn is not there: it was deleted, or the store came back empty
    BROKEN = "broken"  # its keys cannot be written: they hold values of another type
    FINISHED = "finished"  # the turn has its terminal event


class WriteResult(msgspec.Struct, frozen=True, gc=False):
    """How a guarded write ended, and what its caller needs to go on."""

    status: WriteStatus
    last_seq: int = -1  # number of the last event in the log
    stop: bool = False  # a stop was requested
    lease: Lease | None = None  # the lease that is stored now
    hole: bool = False  # of a claim: entries may have been lost, and the next event's number is HOLE higher
    claims: int = 0  # of a claim: how often the turn was claimed from a dead owner, in all,
    idle_claims: int = 0  # and since the log last grew


class Item(msgspec.Struct, frozen=True):
    """One input or output item, as JSON bytes with its id."""

    id: str
    json: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """Where a model input ends: all items of `segment` up to and including `position`.

    A segment is an ordered list of items, shared by all turns of a chain; a conversation is a segment with a name. A
    turn that continues from a place below a segment's end starts a segment of its own, whose parent is that place.
    """

    segment: str
    position: int


class NewTurn(msgspec.Struct, frozen=True):
    """Everything that is written when a turn is admitted."""

    ref: TurnRef
    fingerprint: str  # digest of the request body, compared when an idempotency key returns
    record: dict[str, bytes]  # opaque to the store: what any node needs to run the turn and to render its response
    entry: bytes  # the log's first entry
    last_seq: int  # number of its last event
    lease: Lease | None  # None: queued
    kept: bool  # the request's `store`: whether response and history outlive the turn
    idempotency_key: str | None = None
    conversation: str | None = None
    parent: Checkpoint | None = None  # of previous_response_id; in a conversation, its end when the prompt was made
    input: tuple[Item, ...] = ()  # appended to a conversation at once, to a chain when the turn ends


class CreateResult(msgspec.Struct, frozen=True):
    """A turn was admitted, or `existing` names the one that its idempotency key had created before."""

    existing: str | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """One turn's share of a batch: one entry, whose events are numbered after_seq + 1 .. last_seq."""

    ref: TurnRef
    lease: Lease
    after_seq: int
    last_seq: int
    entry: bytes


class Ending(msgspec.Struct, frozen=True):
    """Everything that is written when a turn ends. `append` has the terminal event, and may have events before it."""

    append: Append
    status: Status
    response: bytes  # the finished response as JSON
    output: tuple[Item, ...] = ()  # appended to the conversation or chain, behind the turn's input


class Turn(msgspec.Struct, frozen=True):
    """A turn as the store has it; `last_seq` is the number of the last event in its log."""

    ref: TurnRef
    status: Status
    last_seq: int
    lease: Lease | None
    stop: bool
    kept: bool
    conversation: str | None
    record: dict[str, bytes]
    offered: bool = False  # free to claim; its owner writes until somebody does
    created_at: float = 0.0  # seconds, by the store's clock
    claims: int = 0  # how often it was claimed from a dead owner, in all
    idle_claims: int = 0  # and since the log last grew
    viewer_reports: int = 0  # rises while other nodes have viewers of it


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of a log: the events numbered after_seq + 1 .. last_seq. `is_last`: with the terminal event."""

    last_seq: int
    entry: bytes
    after_seq: int = -1
    is_last: bool = False


class LogPage(msgspec.Struct, frozen=True):
    """Part of a log. `last_seq` is that of the whole log. `status` None: the turn is gone."""

    entries: tuple[LogEntry, ...]
    status: Status | None
    last_seq: int = -1


class StoredResponse(msgspec.Struct, frozen=True):
    """A finished response, and where its history ends. `checkpoint` None: it has no history."""

    response: bytes
    status: Status
    checkpoint: Checkpoint | None
    first_input: int = 0  # positions of its own input items in the checkpoint's segment: first_input .. last_input
    last_input: int = -1


class Oversized(msgspec.Struct, frozen=True):
    """In place of a history that has more bytes than its reader has room for. `size` is how many, as far as counted."""

    size: int


class Conversation(msgspec.Struct, frozen=True):
    """A segment with a name. `active` is the id of the running turn that locks it; `created_at` is in seconds."""

    id: str
    created_at: int
    metadata: dict[str, str]
    active: str | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of items (JSON bytes) or conversations. `more`: others follow."""

    data: tuple[Any, ...]
    more: bool


class ClusterSnapshot(msgspec.Struct, frozen=True):
    """What a node reads with each beat."""

    counts: dict[str, int]  # by owner: rises while its process lives
    nodes: dict[str, bytes]  # by owner: what it reports of itself
    notifications: tuple[TurnRef, ...] = ()  # turns of this owner that it should look at


class Ticket(msgspec.Struct, frozen=True):
    """Who may open one WebSocket by a ticket, and with which credential it was made."""

    caller: str
    proof: str  # a digest of the credential that says nothing without the ticket; "" from releases before 0.3.0
