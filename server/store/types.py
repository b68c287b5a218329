"""What is kept of turns, responses, conversations and nodes, as plain values.

A log is a list of entries; every event in it has a number, its sequence number, from 0 and without gaps but for holes.
An entry is known by the number of its last event. All sizes are in events unless a field says otherwise.
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
    owner: str  # incarnation: random per process start


HOLE = 1000  # numbers that a claim skips where the store may have lost entries


class WriteStatus(StrEnum):
    """How a guarded write ended."""

    OK = "ok"
    DUPLICATE = "duplicate"  # it had been applied before
    FENCED = "fenced"  # somebody else holds the lease
    GAP = "gap"  # the log ends below the position that was expected
    LOST = "lost"  # the turn is not there (deleted, or the store came back empty)
    BROKEN = "broken"  # its keys cannot be written (somebody else's value under our name)
    FINISHED = "finished"  # the turn has its terminal event


class WriteResult(msgspec.Struct, frozen=True, gc=False):
    """An answer with what the caller needs to go on."""

    status: WriteStatus
    last_seq: int = -1  # number of the last event in the log
    stop: bool = False  # a cancel was asked for
    lease: Lease | None = None  # the lease that is stored now
    hole: bool = False  # a claim: the next event's number is HOLE higher, entries may have been lost
    claims: int = 0  # a claim: from dead owners, in all, and
    idle_claims: int = 0  # since the log last grew


class Item(msgspec.Struct, frozen=True):
    """One input or output item, as JSON bytes with its id."""

    id: str
    json: bytes


class Checkpoint(msgspec.Struct, frozen=True):
    """Where a model input ends: all items of `segment` up to and including `position`.

    A segment is an ordered list of items, shared by all turns of a chain; a conversation is a segment with a name. A
    turn that continues below a segment's end starts a segment of its own, whose parent is that place.
    """

    segment: str
    position: int


class NewTurn(msgspec.Struct, frozen=True):
    """Everything admission writes."""

    ref: TurnRef
    fingerprint: str  # digest of the request body, compared when an idempotency key returns
    record: dict[str, bytes]  # opaque to the store: what any node needs to run and to render the turn
    entry: bytes  # the log's first entry
    last_seq: int  # number of its last event
    lease: Lease | None  # None: queued
    kept: bool  # `store: true`
    idempotency_key: str | None = None
    conversation: str | None = None
    parent: Checkpoint | None = None  # of previous_response_id; with a conversation, the end that its prompt continues
    input: tuple[Item, ...] = ()  # appended now to a conversation, at the end to a chain


class CreateResult(msgspec.Struct, frozen=True):
    """`existing` names the turn that the same idempotency key had created before; nothing was written then."""

    existing: str | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """One turn's share of a batch: one entry, whose events are numbered after+1 .. top."""

    ref: TurnRef
    lease: Lease
    after_seq: int
    last_seq: int
    entry: bytes


class Ending(msgspec.Struct, frozen=True):
    """Everything that a turn's end writes. `append` holds the terminal event, and may hold events before it."""

    append: Append
    status: Status
    response: bytes  # the finished response as JSON
    output: tuple[Item, ...] = ()  # appended to the conversation or chain, behind the turn's input


class Turn(msgspec.Struct, frozen=True):
    """A turn's hash."""

    ref: TurnRef
    status: Status
    last_seq: int
    lease: Lease | None
    stop: bool
    kept: bool
    conversation: str | None
    record: dict[str, bytes]
    offered: bool = False  # its owner writes on until somebody claims it
    created_at: float = 0.0  # seconds, by the store's clock
    claims: int = 0  # from dead owners, in all
    idle_claims: int = 0  # from dead owners, since the log last grew
    viewer_reports: int = 0  # rises while other nodes have viewers of it


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry of a log: the events numbered after+1 .. top. `last`: with the terminal event."""

    last_seq: int
    entry: bytes
    after_seq: int = -1
    is_last: bool = False


class LogPage(msgspec.Struct, frozen=True):
    """Part of a log. `status` None: the turn is gone."""

    entries: tuple[LogEntry, ...]
    status: Status | None
    last_seq: int = -1


class StoredResponse(msgspec.Struct, frozen=True):
    """A finished response with its place in the history."""

    response: bytes
    status: Status
    checkpoint: Checkpoint | None
    first_input: int = 0  # positions of its own input items in the checkpoint's segment: first_input .. last_input
    last_input: int = -1


class Conversation(msgspec.Struct, frozen=True):
    """A named segment. `active` is the id of the running turn that locks it."""

    id: str
    created_at: int
    metadata: dict[str, str]
    active: str | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of items or conversations."""

    data: tuple[Any, ...]
    more: bool


class ClusterSnapshot(msgspec.Struct, frozen=True):
    """What a node reads when it counts itself up."""

    counts: dict[str, int]  # by owner: rises while its process lives
    nodes: dict[str, bytes]  # what each says of itself
    notifications: tuple[TurnRef, ...] = ()  # turns of this owner that it should look at
