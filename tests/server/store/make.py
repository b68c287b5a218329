"""Turns, appends and endings with defaults for all that a test does not care about."""

import os
from typing import Any, cast

from server.log.journal import ClaimedLog, Journal, Writer
from server.protocol.entry import Event, Kind, decode
from server.protocol.status import Status
from server.store.contracts import Store
from server.store.types import (
    Append,
    Checkpoint,
    Conversation,
    Ending,
    Item,
    Lease,
    LogEntry,
    NewTurn,
    Oversized,
    TurnRef,
)

ALICE, BOB = "alice", "bob"
MINE = Lease(1, "node-a")
DONE = [Event(Kind.COMPLETED, data={})]


def ref(id: str = "resp_1", caller: str = ALICE) -> TurnRef:
    return TurnRef(caller, id)


def item(id: str) -> Item:
    return Item(id, f'{{"id":"{id}"}}'.encode())


def jsons(*ids: str) -> list[bytes]:
    return [item(id).json for id in ids]


def new(id: str = "resp_1", **changes: Any) -> NewTurn:
    fields: dict[str, Any] = {
        "ref": TurnRef(changes.pop("caller", ALICE), id),
        "fingerprint": "f",
        "record": {"request": b"\x00\xff", "prompt": b"1"},
        "entry": b"first",
        "last_seq": 1,
        "lease": MINE,
        "kept": True,
    }
    return NewTurn(**(fields | changes))


def append(id: str = "resp_1", after: int = 1, top: int | None = None, **changes: Any) -> Append:
    top = after + 1 if top is None else top
    fields: dict[str, Any] = {
        "ref": TurnRef(changes.pop("caller", ALICE), id),
        "lease": MINE,
        "after_seq": after,
        "last_seq": top,
        "entry": f"{after + 1}..{top}".encode(),
    }
    return Append(**(fields | changes))


def ending(id: str = "resp_1", after: int = 1, *output: str, **changes: Any) -> Ending:
    response, status = changes.pop("response", b"{}"), changes.pop("status", Status.COMPLETED)
    return Ending(append(id, after, **changes), status, response, tuple(item(name) for name in output))


def unique() -> str:
    return os.urandom(8).hex()


def claimed(id: str = "resp_1", lease: Lease = MINE, caller: str = ALICE, **changes: Any) -> ClaimedLog:
    """The log of the turn that `new()` makes, as its first owner finds it."""
    fields: dict[str, Any] = {"last_seq": 1, "entries": [LogEntry(1, b"first")]}
    return ClaimedLog(ref(id, caller), lease, **(fields | changes))


async def begin(journal: Journal, store: object, id: str = "resp_1") -> Writer:
    """Admit a turn and open its log."""
    await cast("Store", store).create(new(id))
    return journal.open_writer(claimed(id))


def text(*words: str) -> list[Event]:
    return [Event(Kind.TEXT, word) for word in words]


def words(entry: bytes) -> list[str]:
    """The texts of the events in an entry."""
    return [event.text for event in decode(entry).events]


async def run_turn(store: Store, id: str, parent: Checkpoint | None = None, **changes: object) -> Checkpoint | None:
    """Run a whole turn, and give its checkpoint: one input item `<id>?`, one output item `<id>!`."""
    await store.create(new(id, parent=parent, input=(item(f"{id}?"),), **changes))
    await store.finish(ending(id, 1, f"{id}!"))
    stored = await store.response(ref(id))
    assert stored is not None
    return stored.checkpoint


async def read_history(store: Store, checkpoint: Checkpoint | None, caller: str = ALICE) -> list[bytes] | None:
    assert checkpoint is not None
    found = await store.history(caller, checkpoint)
    assert not isinstance(found, Oversized)
    return found


async def add_conversation(store: Store, id: str = "conv_1", *items: str, at: int = 1, caller: str = ALICE) -> None:
    await store.create_conversation(caller, Conversation(id, at, {"k": "v"}), [item(name) for name in items])
