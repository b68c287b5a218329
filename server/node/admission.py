"""Admitting turns: everything that happens between a request and its log's first entry."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import msgspec

from engine.base import Engine, Model
from server.protocol import errors, response
from server.protocol.entry import encode
from server.store.contracts import Store
from server.store.errors import KeyReused, Locked, Missing, Moved, StoreDown
from server.store.retry import REPEAT, until_answered
from server.store.types import Checkpoint, Item, Lease, LogEntry, NewTurn, TurnRef
from server.telemetry.instruments import Telemetry, TurnTelemetry
from server.turns.prompt import PreparedTurn, TurnRequest, prepare
from server.turns.runner import first_events
from server.turns.spec import TurnSpec, pack, unpack

T = TypeVar("T")

READS = 5  # of a history that grows while it is read


class Admitted(msgspec.Struct, frozen=True):
    """A turn that has an end ahead of it."""

    ref: TurnRef
    record: TurnSpec


class Slots(Protocol):
    """Where an admitted turn runs or waits."""

    owner: str

    def promise(self) -> bool:
        """Take a slot (True), or a place in the queue. Raises WireError when both are gone."""
        ...

    def run(
        self, admitted: Admitted, facts: TurnTelemetry, lease: Lease, entries: list[LogEntry], origin: NewTurn
    ) -> None:
        """Run it in the slot that was promised."""
        ...

    def wait(self, admitted: Admitted, facts: TurnTelemetry) -> None:
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

    async def before(self, ask: TurnRequest) -> TurnRef | None:
        """The turn that the same request with the same key made, whatever its history is by now."""
        key = ask.request.idempotency_key
        made = None if key is None else await self.store.find_idempotent(ask.caller, key)
        return None if made is None or made[1] != ask.fingerprint else TurnRef(ask.caller, made[0])

    async def existing(self, ref: TurnRef) -> Admitted:
        """A turn that was admitted before. Raises WireError where its events are gone."""
        turn = await self.store.turn(ref)
        if turn is not None:
            return Admitted(ref, unpack(turn.record))
        stored = await self.store.response(ref)
        kept = None if stored is None else msgspec.json.decode(stored.response)
        raise errors.position_lost("This request was answered before; its events are no longer kept.", kept)

    async def accept(self, ask: TurnRequest, id: str, facts: TurnTelemetry) -> Admitted:
        """Render, check, admit. Cancelling it during the last leaves a turn that runs like any other."""
        for _ in range(READS):
            with self.telemetry.step(facts, "render"):
                ready = await prepare(self.engine, self.store, ask, id)
            try:
                with self.telemetry.step(facts, "admit"):
                    return await asyncio.shield(self.slots.spawn(self._admit(ask, id, ready, facts)))
            except Moved:
                continue
        raise errors.locked(ask.request.conversation_id or "")

    async def _admit(self, ask: TurnRequest, id: str, ready: PreparedTurn, facts: TurnTelemetry) -> Admitted:
        lease = Lease(1, self.slots.owner) if self.slots.promise() else None
        running = False
        try:
            record = record_of(ask, id, ready, facts, self.engine.model, self.telemetry.traceparent(facts))
            entry = encode(None, first_events(leased=lease is not None))
            admitted = Admitted(TurnRef(ask.caller, id), record)
            new = new_turn(ask, admitted, entry, lease, ready)
            origin = msgspec.structs.replace(new, record=new.record | whole(ready))
            existing = await self._create(new)
            if existing is not None:
                return await self.existing(TurnRef(ask.caller, existing))
            if lease is None:
                self.slots.wait(admitted, facts)
            else:
                running = True
                self.slots.run(admitted, facts, lease, [LogEntry(1, entry)], origin)
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
        created = await until_answered(lambda: self.store.create(new))
        if created.existing is None:
            await until_answered(lambda: self.store.delete(new.ref))


def record_of(
    ask: TurnRequest, id: str, ready: PreparedTurn, facts: TurnTelemetry, model: Model, trace: str
) -> TurnSpec:
    """What any node needs to run and to render this turn."""
    return TurnSpec(
        response=response.created(ask.request, id, int(facts.asked), model.name),
        prompt=ready.prompt,
        params=ready.params,
        model_version=model.version,
        lane=ask.lane,
        generates=ask.request.generates,
        input=() if ask.request.kept else (*ready.history, *ready.new_items),
        requested_at=facts.asked,
        traceparent=trace,
        prompt_ref=ready.prompt_ref,
    )


def whole(ready: PreparedTurn) -> dict[str, bytes]:
    """The prompt itself, for a store that came back without what it can be rendered from."""
    return {"prompt": ready.ids, "salt": (ready.prompt.salt or "").encode()}


def new_turn(ask: TurnRequest, admitted: Admitted, entry: bytes, lease: Lease | None, ready: PreparedTurn) -> NewTurn:
    """What admission writes."""
    # A chain that goes on from what only a connection had begins with all of it.
    begins = ask.request.kept and ready.parent is None
    items = (*ready.history, *ready.new_items) if begins else ready.new_items
    return NewTurn(
        ref=admitted.ref,
        fingerprint=ask.fingerprint,
        record=pack(admitted.record),
        entry=entry,
        last_seq=1,
        lease=lease,
        kept=ask.request.kept,
        idempotency_key=ask.request.idempotency_key,
        conversation=ask.request.conversation_id,
        parent=ready.parent,
        input=tuple(Item(item["id"], msgspec.json.encode(item)) for item in items),
    )


def readmission(ref: TurnRef, record: TurnSpec, lease: Lease, first: LogEntry) -> NewTurn | None:
    """What admits a turn again that was taken over, where Redis comes back empty. None: its conversation is gone too.

    What it was asked with is not known here, so its parent is a place that does not exist: a later turn that continues
    this one is told that the history is missing, instead of being given a shorter one.
    """
    if record.response.get("conversation"):
        return None
    kept = bool(record.response["store"])
    parent = Checkpoint(f"{ref.id}-lost", 0)
    return NewTurn(ref, "", pack(record), first.entry, first.last_seq, lease, kept, parent=parent)
