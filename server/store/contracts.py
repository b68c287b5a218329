"""The four contracts of a store: turns with their logs, history, the registry of nodes, and tickets.

A part of the server asks for the narrowest one that it needs. Backends keep all four (`Store`) and are interchangeable;
the contract suite in `tests/server/store` says what each method must do.

**Atomicity.** Everything of one caller is kept in one partition, so every method happens whole or not at all, also when
its answer is lost. Every write names what it expects (lease, position, status): repeated, or late, it answers
`DUPLICATE`, `FENCED`, `GAP` or `FINISHED` and changes nothing.

**Errors.** Every method may raise `StoreDown` (no answer: repeat it), writes also `StoreFull`; a `Conflict` is the
caller's own doing and is named at the method. See `server.store.errors`.
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
    Page,
    StoredResponse,
    Turn,
    TurnRef,
    WriteResult,
)


class TurnStore(Protocol):
    """Turns, who may write them, and their logs."""

    @property
    def partitions(self) -> int:
        """How many there are; one call reaches one partition."""
        ...

    def partition(self, caller: str) -> int:
        """The partition that everything of this caller is kept in. The same on every node, for ever."""
        ...

    async def create(self, new: NewTurn) -> CreateResult:
        """Admit a turn. Raises KeyReused, Locked, Missing (conversation), Moved (a conversation past `parent`)."""
        ...

    async def find_idempotent(self, caller: str, key: str) -> tuple[str, str] | None:
        """The turn that an idempotency key made, and the fingerprint of its request."""
        ...

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        """Append many turns' entries, all of one partition, in one call; each has a result of its own."""
        ...

    async def claim(self, ref: TurnRef, seen: Lease | None, owner: str, *, above: int = 0) -> WriteResult:
        """Take a turn whose lease is `seen` (None: queued). The new lease is in the result.

        Repeated by the same owner it answers DUPLICATE with that owner's lease; FENCED if the lease is another one.
        `above` is the fence of an owner who finds a store that is older than what it wrote: the new fence is higher,
        and the claim does not count as one from a dead owner.

        Where the store is not the one that the turn was last claimed from (another Redis process), entries that viewers
        saw may be missing: the result says `hole`, and the first entry that follows begins HOLE numbers higher.
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


class HistoryStore(Protocol):
    """Finished responses, the items that turns continue, and conversations."""

    async def response(self, ref: TurnRef) -> StoredResponse | None:
        """A finished response."""
        ...

    async def history(self, caller: str, checkpoint: Checkpoint) -> list[bytes] | None:
        """All items up to a checkpoint, oldest first, in one call however many segments it spans. None: gone."""
        ...

    async def input_items(self, ref: TurnRef) -> list[bytes] | None:
        """The input items that came with this turn, finished or not. None: no such turn."""
        ...

    async def create_conversation(self, caller: str, conversation: Conversation, items: Sequence[Item]) -> None:
        """Create one, with its first items."""
        ...

    async def conversation(self, caller: str, id: str) -> Conversation | None:
        """Read one."""
        ...

    async def conversations(self, caller: str, after: str | None, limit: int) -> Page:
        """Newest first; `after` is an id. Raises Missing where `after` is not there."""
        ...

    async def set_metadata(self, caller: str, id: str, metadata: dict[str, str]) -> Conversation:
        """Replace the metadata, and read what the conversation is then. Raises Missing."""
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


class NodeRegistry(Protocol):
    """Which processes there are, and what they have to tell each other. It can be rebuilt from nothing."""

    async def beat(self, owner: str, note: bytes) -> ClusterSnapshot:
        """Count this process up, and read what all of them count and note. Its notifications are taken with it."""
        ...

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
        """Have an owner look at one of its turns with its next beat."""
        ...

    async def retire(self, owner: str, count: int) -> None:
        """Strike out a process that is dead, if its count is still this one."""
        ...


class TicketStore(Protocol):
    """Single-use secrets that open one WebSocket each."""

    async def put_ticket(self, ticket: str, caller: str, seconds: int) -> None:
        """Keep a ticket for so long."""
        ...

    async def take_ticket(self, ticket: str) -> str | None:
        """The caller it was made for, once."""
        ...


class Store(TurnStore, HistoryStore, NodeRegistry, TicketStore, Protocol):
    """All four, as one backend that can be checked and closed."""

    async def check(self) -> None:
        """Raises StoreDown with the address in its words, StoreError for a server that is not fit for use."""
        ...

    async def close(self) -> None:
        """Close connections. May be called twice."""
        ...
