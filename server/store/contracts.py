"""The four contracts of a store: turns with their logs, history, the registry of nodes, and tickets.

Code depends on the narrowest one that it needs. Backends keep all four (`Store`) and are interchangeable; the contract
suite in `tests/server/store` says what each method must do.

**Atomicity.** Everything of one caller is kept in one partition, so every method happens whole or not at all, also when
its answer is lost. Every write to a turn names what it expects (lease, position, status): repeated, or late, it answers
`DUPLICATE`, `FENCED`, `GAP` or `FINISHED` and changes nothing. `append` is atomic for each turn of its batch.

**Errors.** Every method may raise `StoreDown` (no answer: call it again), writes also `StoreFull`. A `Conflict` is due
to what the caller asked for; those that a method raises are named at it. See `server.store.errors`.
"""

from collections.abc import Sequence
from typing import Protocol

from server.store.types import (
    Append,
    Checkpoint,
    ClusterSnapshot,
    Conversation,
    CreateResult,
    Ending,
    Item,
    Lease,
    LogEntry,
    LogPage,
    NewTurn,
    Oversized,
    Page,
    StoredResponse,
    Ticket,
    Turn,
    TurnRef,
    WriteResult,
)

ALL = 1 << 53  # bytes: more than any history has. Lua counts so far without a fault


class TurnStore(Protocol):
    """Turns, who may write them, and their logs."""

    @property
    def partitions(self) -> int:
        """How many partitions there are. One call reaches one of them."""
        ...

    def partition(self, caller: str) -> int:
        """The partition that everything of this caller is kept in. The same on every node, for ever."""
        ...

    async def create(self, new: NewTurn) -> CreateResult:
        """Admit a turn. Raises KeyReused, Locked, Missing (conversation), Moved (a conversation past `parent`)."""
        ...

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """The turn that an idempotency key created, and the fingerprint of its request."""
        ...

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """Append one entry to each of many logs, all of one partition. Each has its own result, in the same order."""
        ...

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """Take a turn whose lease is `seen` (None: queued). The new lease is in the result.

        Repeated by the same owner it answers DUPLICATE with that owner's lease; FENCED if the lease is another one.
        `above` is given by an owner who finds the store older than what it wrote, and is its fence: the new fence is
        higher, and the claim is not counted as one from a dead owner.

        If the store was restarted since the turn was last claimed (another Redis process), entries that viewers have
        seen may be missing: the result has `hole`, and the first entry that follows begins HOLE numbers higher.
        """
        ...

    async def offer(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Mark a running turn as free to claim. Its owner keeps writing until another node claims it."""
        ...

    async def release(self, ref: TurnRef, lease: Lease) -> WriteResult:
        """Give up a turn: it has no owner, and is claimed as if it were queued. Its fence goes on rising."""
        ...

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Request a stop: every later append answers `stop`. The result's `lease` names the owner."""
        ...

    async def finish(self, ending: Ending) -> WriteResult:
        """End a turn: write terminal event, response and history, unlock the conversation. FINISHED if it has ended."""
        ...

    async def report_viewer(self, ref: TurnRef) -> None:
        """Count a report that a node which does not run this turn has viewers of it. Ignored once it has ended."""
        ...

    async def delete(self, ref: TurnRef) -> bool:
        """Delete a response and its log. A tombstone lets no late write revive it. False: it was not there."""
        ...

    async def withdraw(self, ref: TurnRef) -> None:
        """Delete a turn whose `create` was not answered. The tombstone is left even where nothing is there: that call
        may be on its way still, and makes nothing then."""
        ...

    async def turn(self, ref: TurnRef) -> Turn | None:
        """A turn as it is now. None: it never was, was deleted, or ended some time ago."""
        ...

    async def read(self, ref: TurnRef, after: int, limit: int) -> LogPage:
        """At most `limit` entries with events above `after`, oldest first. The first one may begin at or below it."""
        ...

    async def follow(self, after: dict[TurnRef, int], wait_ms: int) -> dict[TurnRef, tuple[LogEntry, ...]]:
        """Block until one of these logs, all of one partition, grows beyond its position, or `wait_ms` have passed."""
        ...

    async def wake(self, partition: int) -> None:
        """Make a `follow` that blocks in this partition return at once. Without one, nothing happens."""
        ...

    async def unfinished_turns(self, partition: int) -> list[Turn]:
        """All unfinished turns of a partition, without their records. Renews their lifetimes."""
        ...


class HistoryStore(Protocol):
    """Finished responses, the items that turns continue, and conversations."""

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """A finished response. None: the turn is unfinished, was deleted, or never was."""
        ...

    async def response_end(self, ref: TurnRef) -> Checkpoint | None:
        """Where the history of a finished response ends. None: there is no such response, or it has no history."""
        ...

    async def history(
        self, caller: str, checkpoint: Checkpoint, most: int = ALL, counted: int = ALL
    ) -> list[bytes] | Oversized | None:
        """All items up to a checkpoint, oldest first, however many segments that spans. None: any of them is gone.

        Of more than `most` bytes nothing is sent: only how many there are, of which no more are counted than it takes
        to know that there are more than `counted`.
        """
        ...

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """The input items that came with a turn, finished or not. None: no such turn."""
        ...

    async def create_conversation(
        self, caller: str, conversation: Conversation, items: Sequence[Item], fingerprint: str = ""
    ) -> None:
        """Create a conversation with its first items. If it exists, nothing changes.

        `fingerprint` is the digest of the request that asks for this id. Raises KeyReused where another one made it.
        """
        ...

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """A conversation. None: not there."""
        ...

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """A page of the caller's conversations, newest first, behind the one with id `after`. Raises Missing."""
        ...

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """Replace the metadata; what the conversation is then. Raises Missing."""
        ...

    async def delete_conversation(self, caller: str, id: str) -> bool:
        """Delete a conversation with its items. Raises Locked while a turn runs in it. False: it was not there."""
        ...

    async def conversation_end(self, caller: str, conversation: str, *, unlocked: bool = False) -> Checkpoint | None:
        """The checkpoint of all items so far. None: no such conversation.

        With `unlocked` raises Locked while a turn runs in it.
        """
        ...

    async def add_items(self, caller: str, conversation: str, items: Sequence[Item]) -> None:
        """Append the items that it does not have. Raises Missing; Locked while a turn runs in it."""
        ...

    async def items(self, caller: str, conversation: str, after: str | None, limit: int, *, newest: bool) -> Page:
        """A page of items (JSON bytes), behind the item `after`. Raises Missing for the conversation or for `after`."""
        ...

    async def item(self, caller: str, conversation: str, id: str) -> bytes | None:
        """One item as JSON. None: not there."""
        ...

    async def delete_item(self, caller: str, conversation: str, id: str) -> bool:
        """Delete one item; the positions of all others stay. False: it was not there.

        Raises Missing for the conversation, Locked while a turn runs in it.
        """
        ...


class NodeRegistry(Protocol):
    """Which processes run, and what they report and notify each other of. It can be rebuilt from nothing."""

    async def beat(self, owner: str, info: bytes) -> ClusterSnapshot:
        """Count this process up and store its `info` of itself; read the same of all, and take its notifications."""
        ...

    async def beats(self, owner: str) -> int | None:
        """How often a process has beaten by now. None: it is not in the registry."""
        ...

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
        """Leave a notification of one of its turns, for an owner's next beat. It expires if the owner is gone.

        Repeated before that beat, it is still one notification.
        """
        ...

    async def retire(self, owner: str, count: int) -> None:
        """Remove a process that is dead, if its count is still this one."""
        ...


class TicketStore(Protocol):
    """Single-use secrets that open one WebSocket each."""

    async def put_ticket(self, id: str, ticket: Ticket, seconds: int) -> None:
        """Store a ticket for `seconds`. `id` is the secret that opens the socket."""
        ...

    async def take_ticket(self, id: str) -> Ticket | None:
        """What a ticket was made for, and delete it. None: unknown, taken or expired."""
        ...


class Store(TurnStore, HistoryStore, NodeRegistry, TicketStore, Protocol):
    """All four contracts, as one backend that can be checked and closed."""

    async def check(self) -> None:
        """Raises StoreDown, which names the address, or StoreError for a server that is not fit for use."""
        ...

    async def close(self) -> None:
        """Close all connections: calls in flight end in StoreDown. May be called twice."""
        ...
