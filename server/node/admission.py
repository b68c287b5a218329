"""Admitting turns: everything that happens between a request and its log's first entry."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import msgspec

from engine.base import Engine, Model
from server.protocol import errors, response
from server.protocol.entry import encode
from server.store.base import (
    Checkpoint,
    Item,
    KeyReused,
    Lease,
    Locked,
    Logged,
    Missing,
    Moved,
    NewTurn,
    Ref,
    Store,
    StoreDown,
)
from server.store.retry import REPEAT, answered
from server.telemetry.instruments import Facts, Telemetry
from server.turns.prompt import Ask, Draft, draft
from server.turns.runner import first_events
from server.turns.spec import Record, pack, unpack

T = TypeVar("T")

READS = 5  # of a history that grows while it is read


class Admitted(msgspec.Struct, frozen=True):
    """A turn that has an end ahead of it."""

    ref: Ref
    record: Record


class Slots(Protocol):
    """Where an admitted turn runs or waits."""

    owner: str

    def promise(self) -> bool:
        """Take a slot (True), or a place in the queue. Raises WireError when both are gone."""
        ...

    def run(self, admitted: Admitted, facts: Facts, lease: Lease, entries: list[Logged], origin: NewTurn) -> None:
        """Run it in the slot that was promised."""
        ...

    def wait(self, admitted: Admitted, facts: Facts) -> None:
        """Queue it."""
        ...

    def take_back(self) -> None:
        """The slot that was promised is not needed."""
        ...

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do something that nobody waits for."""
        ...


class Admission:
    """The way in."""

    def __init__(self, engine: Engine, store: Store, telemetry: Telemetry, slots: Slots, *, patience: float) -> None:
        self.engine = engine
        self.store = store
        self.telemetry = telemetry
        self.slots = slots
        self.patience = patience  # seconds for which an admission is repeated while the store does not answer

    async def before(self, ask: Ask) -> Ref | None:
        """The turn that the same request with the same key made, whatever its history is by now."""
        key = ask.request.idempotency_key
        made = None if key is None else await self.store.made(ask.caller, key)
        return None if made is None or made[1] != ask.fingerprint else Ref(ask.caller, made[0])

    async def existing(self, ref: Ref) -> Admitted:
        """A turn that was admitted before. Raises WireError where its events are gone."""
        turn = await self.store.turn(ref)
        if turn is not None:
            return Admitted(ref, unpack(turn.record))
        stored = await self.store.stored(ref)
        kept = None if stored is None else msgspec.json.decode(stored.response)
        raise errors.position_lost("This request was answered before; its events are no longer kept.", kept)

    async def accept(self, ask: Ask, id: str, facts: Facts) -> Admitted:
        """Render, check, admit. Cancelling it during the last leaves a turn that runs like any other."""
        for _ in range(READS):
            with self.telemetry.step(facts, "render"):
                ready = await draft(self.engine, self.store, ask, id)
            try:
                with self.telemetry.step(facts, "admit"):
                    return await asyncio.shield(self.slots.spawn(self._admit(ask, id, ready, facts)))
            except Moved:
                continue
        raise errors.locked(ask.request.conversation_id or "")

    async def _admit(self, ask: Ask, id: str, ready: Draft, facts: Facts) -> Admitted:
        lease = Lease(1, self.slots.owner) if self.slots.promise() else None
        running = False
        try:
            record = record_of(ask, id, ready, facts, self.engine.model, self.telemetry.traceparent(facts))
            entry = encode(None, first_events(leased=lease is not None))
            admitted = Admitted(Ref(ask.caller, id), record)
            new = new_turn(ask, admitted, entry, lease, ready)
            origin = msgspec.structs.replace(new, record=new.record | whole(ready))
            existing = await self._create(new)
            if existing is not None:
                return await self.existing(Ref(ask.caller, existing))
            if lease is None:
                self.slots.wait(admitted, facts)
            else:
                running = True
                self.slots.run(admitted, facts, lease, [Logged(1, entry)], origin)
        finally:
            if lease is not None and not running:
                self.slots.take_back()
        return admitted

    async def _create(self, new: NewTurn) -> str | None:
        """Repeated for a while: without an answer nobody knows whether the turn is there."""
        until = time.monotonic() + self.patience
        while True:
            try:
                return (await self.store.create(new)).existing
            except StoreDown:
                if time.monotonic() > until:
                    self.slots.spawn(self._withdraw(new))
                    raise
                await asyncio.sleep(REPEAT)
            except Locked as error:
                raise errors.locked(error.conversation) from None
            except KeyReused:
                raise errors.key_reused() from None
            except Missing as error:
                raise errors.not_found(error.kind, error.id) from None

    async def _withdraw(self, new: NewTurn) -> None:
        """The client was told that this turn was refused; a late call may still have made it."""
        created = await answered(lambda: self.store.create(new))
        if created.existing is None:
            await answered(lambda: self.store.delete(new.ref))


def record_of(ask: Ask, id: str, ready: Draft, facts: Facts, model: Model, trace: str) -> Record:
    """What any node needs to run and to render this turn."""
    return Record(
        response=response.created(ask.request, id, int(facts.asked), model.name),
        prompt=ready.prompt,
        params=ready.params,
        model=model.version,
        lane=ask.lane,
        generates=ask.request.generates,
        input=() if ask.request.kept else (*ready.past, *ready.own),
        asked=facts.asked,
        trace=trace,
        recipe=ready.recipe,
    )


def whole(ready: Draft) -> dict[str, bytes]:
    """The prompt itself, for a store that came back without what it can be rendered from."""
    return {"prompt": ready.ids, "salt": (ready.prompt.salt or "").encode()}


def new_turn(ask: Ask, admitted: Admitted, entry: bytes, lease: Lease | None, ready: Draft) -> NewTurn:
    """What admission writes."""
    # A chain that goes on from what only a connection had begins with all of it.
    begins = ask.request.kept and ready.parent is None
    items = (*ready.past, *ready.own) if begins else ready.own
    return NewTurn(
        ref=admitted.ref,
        fingerprint=ask.fingerprint,
        record=pack(admitted.record),
        entry=entry,
        top=1,
        lease=lease,
        kept=ask.request.kept,
        idempotency_key=ask.request.idempotency_key,
        conversation=ask.request.conversation_id,
        parent=ready.parent,
        input=tuple(Item(item["id"], msgspec.json.encode(item)) for item in items),
    )


def readmission(ref: Ref, record: Record, lease: Lease, first: Logged) -> NewTurn | None:
    """What admits a turn again that was taken over, where Redis comes back empty. None: its conversation is gone too.

    What it was asked with is not known here, so its parent is a place that does not exist: a later turn that continues
    this one is told that the history is missing, instead of being given a shorter one.
    """
    if record.response.get("conversation"):
        return None
    kept = bool(record.response["store"])
    parent = Checkpoint(f"{ref.id}-lost", 0)
    return NewTurn(ref, "", pack(record), first.entry, first.top, lease, kept, parent=parent)
