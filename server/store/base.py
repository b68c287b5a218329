"""What is kept, and the promises that every store makes about it.

Everything of one caller lies in one partition, so that each method here is atomic: it happens whole or not at all,
also when the answer is lost. Every write names what it expects (lease, position, status); repeated or late it answers
`DUPLICATE`, `FENCED`, `GAP` or `FINISHED` and changes nothing. Errors are in `errors.py`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from server.protocol.status import Status
from server.store.errors import Conflict as Conflict
from server.store.errors import KeyReused as KeyReused
from server.store.errors import Locked as Locked
from server.store.errors import Missing as Missing
from server.store.errors import Moved as Moved
from server.store.errors import PositionLost as PositionLost
from server.store.errors import StoreDown as StoreDown
from server.store.errors import StoreError as StoreError
from server.store.errors import StoreFull as StoreFull


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


class Store(Protocol):
    """The backends are interchangeable; the contract suite in the tests says what each method must do."""

    @property
    def partitions(self) -> int:
        """How many there are; one call reaches one partition."""
        ...

    def partition(self, caller: str) -> int:
        """Where everything of this caller lies. The same on every node."""
        ...

    # -- turns ---------------------------------------------------------------------------------------------------

    async def create(self, new: NewTurn) -> CreateResult:
        """Admit a turn. Raises KeyReused, Locked, Missing (conversation), Moved (a conversation past `parent`)."""
        ...

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """The turn that an idempotency key made, and the fingerprint of its request."""
        ...

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """Append many turns' entries, all of one partition, in one call; each is answered on its own."""
        ...

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """Take a turn whose lease is `seen` (None: queued). The new lease is in the outcome.

        Repeated by the same owner it answers DUPLICATE with that owner's lease; FENCED if the lease is another one.
        `above` is the fence that an owner has, who finds a store that is older: the new one is higher, and the claim
        does not count as one from a dead owner.

        Where the store is not the one that the turn was last claimed from (another Redis process), entries that viewers
        saw may be missing: the outcome says `hole`, and the first entry that follows begins HOLE numbers higher.
        """
        ...

    async def offer(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Mark a running turn as free to claim, and keep writing until somebody does."""
        ...

    async def release(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Give a turn back: nobody's, to be claimed as if it were queued. Its fence goes on rising."""
        ...

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Ask for a stop: every later append says `stop`. FINISHED and LOST as they are; `lease` names the owner."""
        ...

    async def finish(self, ending: Ending) -> WriteResult:
        """Write the terminal event, the response, the history and the unlock; only an open turn has an end."""
        ...

    async def report_viewer(self, ref: TurnRef) -> None:
        """Say that a node which does not run this turn has viewers of it."""
        ...

    async def delete(self, ref: TurnRef) -> bool:
        """Forget a response and its log, leave a tombstone so that no late write revives it. False: was not there."""
        ...

    async def turn(self, ref: TurnRef) -> Turn | None:
        """Read a turn's hash."""
        ...

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        """Entries that hold events above `after`, oldest first. The first one may begin at or below it."""
        ...

    async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
        """Block until one of these logs (of one partition) grows beyond its position, at most `wait_ms`."""
        ...

    async def wake(self, partition: int) -> None:
        """Make a `follow` that blocks in this partition return now. Without one, nothing happens."""
        ...

    async def unfinished_turns(self, partition: int) -> list[Turn]:
        """All unfinished turns of a partition, their lifetimes renewed. Record fields are left out."""
        ...

    # -- responses and history -----------------------------------------------------------------------------------

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """A finished response."""
        ...

    async def history(self, caller: str, checkpoint: Checkpoint) -> list[bytes] | None:
        """All items up to a checkpoint, oldest first, in one call however many segments it spans. None: gone."""
        ...

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """The input items that came with this turn, finished or not. None: no such turn."""
        ...

    # -- conversations -------------------------------------------------------------------------------------------

    async def create_conversation(self, caller: str, conversation: Conversation, items: Sequence[Item]) -> None:
        """Create one, with its first items."""
        ...

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """Read one."""
        ...

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """Newest first; `after` is an id."""
        ...

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """Replace the metadata. Raises Missing."""
        ...

    async def delete_conversation(self, caller: str, id: str) -> bool:
        """Delete it with its items. Raises Locked while a turn runs in it. False: was not there."""
        ...

    async def conversation_end(self, caller: str, conversation: str) -> Checkpoint | None:
        """The checkpoint of everything said so far. None: no such conversation."""
        ...

    async def add_items(self, caller: str, conversation: str, items: Sequence[Item]) -> None:
        """Append. Raises Missing; Locked while a turn runs in it."""
        ...

    async def items(self, caller: str, conversation: str, after: str | None, limit: int, *, newest: bool) -> Page:
        """Page through items (JSON bytes). Raises Missing for the conversation or for `after`."""
        ...

    async def item(self, caller: str, conversation: str, id: str) -> bytes | None:
        """One item."""
        ...

    async def delete_item(self, caller: str, conversation: str, id: str) -> bool:
        """Take one item out. Raises Missing for the conversation, Locked while a turn runs in it."""
        ...

    # -- nodes ---------------------------------------------------------------------------------------------------

    async def beat(self, owner: str, note: bytes) -> ClusterSnapshot:
        """Count this process up, and read what all of them count and note. Its mail is taken with it."""
        ...

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
        """Have an owner look at one of its turns with its next beat."""
        ...

    async def retire(self, owner: str, count: int) -> None:
        """Strike out a process that is dead, if its count is still this one."""
        ...

    # -- odds ----------------------------------------------------------------------------------------------------

    async def put_ticket(self, ticket: str, caller: str, seconds: int) -> None:
        """Keep a single-use ticket."""
        ...

    async def take_ticket(self, ticket: str) -> str | None:
        """The caller it was made for, once."""
        ...

    async def check(self) -> None:
        """Raises StoreDown with the address in its words."""
        ...

    async def close(self) -> None:
        """Close connections. May be called twice."""
        ...
