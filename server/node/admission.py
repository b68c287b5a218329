"""Admitting turns: everything that happens between a request and its log's first entry."""

import asyncio
import time

import msgspec

from engine.base import Model
from engine.offload import offloaded
from server.node.queue import QueuedTurn
from server.node.scheduler import Resources, SlotScheduler
from server.protocol import errors, response
from server.protocol.entry import encode
from server.store.errors import KeyReused, Locked, Moved, StoreDown
from server.store.retry import RETRY_SECONDS, until_answered
from server.store.types import Item, Lease, LogEntry, NewTurn, TurnRef
from server.telemetry.instruments import TurnTelemetry
from server.turns.preparation import Preparation
from server.turns.prompt import PreparedTurn, TurnRequest, prepare
from server.turns.runner import LeasedTurn, first_events
from server.turns.spec import TurnSpec, pack, unpack

READS = 5  # of a history that grows while it is read, before the client is told that the conversation is in use


class Admitted(msgspec.Struct, frozen=True):
    """A turn that ends in exactly one terminal event from here on."""

    ref: TurnRef
    spec: TurnSpec


class Admission:
    """Renders and checks a request, writes its turn, and hands that to the scheduler."""

    def __init__(self, resources: Resources, scheduler: SlotScheduler, *, patience: float) -> None:
        self.patience = patience  # seconds for which an admission is repeated while the store does not answer
        self._resources = resources
        self._scheduler = scheduler

    async def find_idempotent(self, request: TurnRequest) -> TurnRef | None:
        """The turn that the same request with the same key made, whatever its history is by now."""
        made = await self._made(request)
        return None if made is None or made[1] != request.fingerprint else TurnRef(request.caller, made[0])

    async def _made(self, request: TurnRequest) -> tuple[str, str] | None:
        key = request.request.idempotency_key
        return None if key is None else await self._resources.store.find_idempotent(request.caller, key)

    async def existing(self, ref: TurnRef) -> Admitted:
        """A turn that was admitted before. Raises WireError where its events are gone."""
        turn = await self._resources.store.turn(ref)
        if turn is not None:
            return Admitted(ref, unpack(turn.record))
        stored = await self._resources.store.response(ref)
        kept = None if stored is None else msgspec.json.decode(stored.response)
        raise errors.position_lost("This request was answered before; its events are no longer kept.", kept)

    async def admit(self, request: TurnRequest, id: str, telemetry: TurnTelemetry) -> Admitted:
        """Render, check, write. Raises WireError, StoreError, EngineError; nothing was accepted then.

        Cancelling it while it writes leaves a turn that runs like any other; before that, nothing is left.
        """
        caller, preparations = request.caller, self._resources.preparations
        async with (
            preparations.begin(caller, request.size, request.weight) as preparation,
            preparations.alone(caller, request.request.conversation_id),
        ):
            try:
                return await self._prepare_and_write(request, id, telemetry, preparation)
            except Locked as locked:
                return await self._admitted_meanwhile(request, locked)

    async def _prepare_and_write(
        self, request: TurnRequest, id: str, telemetry: TurnTelemetry, preparation: Preparation
    ) -> Admitted:
        parts = self._resources
        for _ in range(READS):
            with parts.telemetry.step(telemetry, "render"):
                prepared = await prepare(parts.engine, parts.store, request, id, preparation, unlocked=True)
            preparation.leave()  # from here on it counts among the turns
            try:
                with parts.telemetry.step(telemetry, "admit"):
                    writing = parts.tasks.spawn(self._write(request, id, prepared, telemetry))
                    del prepared
                    return await asyncio.shield(writing)
            except Moved:
                continue
        raise errors.locked(request.request.conversation_id or "")

    async def _admitted_meanwhile(self, request: TurnRequest, locked: Locked) -> Admitted:
        """The turn of the same key, where that was made while this request waited. Raises Locked, KeyReused."""
        made = await self._made(request)
        if made is None:
            raise locked
        if made[1] != request.fingerprint:
            raise KeyReused
        return await self.existing(TurnRef(request.caller, made[0]))

    async def _write(self, request: TurnRequest, id: str, prepared: PreparedTurn, telemetry: TurnTelemetry) -> Admitted:
        parts, ref = self._resources, TurnRef(request.caller, id)
        lease = Lease(1, parts.owner) if self._scheduler.reserve(ref, prepared.weight) else None
        is_handed_over = False
        try:
            traceparent = parts.telemetry.traceparent(telemetry)
            spec = spec_of(request, id, prepared, telemetry, parts.engine.model, traceparent)
            entry = encode(None, first_events(leased=lease is not None))
            new = await offloaded(request.size, new_turn, request, ref, spec, entry, lease, prepared)
            existing = await self._create(new)
            if existing is not None:
                return await self.existing(TurnRef(request.caller, existing))
            is_handed_over = True
            if lease is None:
                self._scheduler.enqueue(QueuedTurn(ref, spec, telemetry))
            else:
                origin = msgspec.structs.replace(new, record=new.record | prepared.whole_prompt())
                entries = (LogEntry(1, entry),)
                self._scheduler.start(LeasedTurn(ref, spec, lease, entries, telemetry, origin=origin))
        finally:
            if not is_handed_over:
                self._scheduler.give_back(ref, has_slot=lease is not None)
        return Admitted(ref, spec)

    async def _create(self, new: NewTurn) -> str | None:
        """Write the turn; the id of the one that the same idempotency key had made. Raises StoreError.

        Repeated for a while: without an answer nobody knows whether the turn is there.
        """
        until = time.monotonic() + self.patience
        while True:
            try:
                return (await self._resources.store.create(new)).existing
            except StoreDown:
                if time.monotonic() > until:
                    self._resources.tasks.spawn(self._withdraw(new))
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _withdraw(self, new: NewTurn) -> None:
        """The client was told that this turn was refused; a late call may still have made it."""
        store = self._resources.store
        created = await until_answered(lambda: store.create(new))
        if created.existing is None:
            await until_answered(lambda: store.delete(new.ref))


def spec_of(
    request: TurnRequest, id: str, prepared: PreparedTurn, telemetry: TurnTelemetry, model: Model, traceparent: str
) -> TurnSpec:
    """What any node needs to run and to render this turn."""
    keeps = request.request.kept
    return TurnSpec(
        response=response.created(request.request, id, int(telemetry.requested_at), model.name),
        prompt=prepared.prompt,
        params=prepared.params,
        model_version=model.version,
        lane=request.lane,
        generates=request.request.generates,
        input=() if keeps else (*prepared.history.items, *prepared.new_items),
        requested_at=telemetry.requested_at,
        traceparent=traceparent,
        prompt_ref=prepared.prompt_ref,
    )


def new_turn(
    request: TurnRequest, ref: TurnRef, spec: TurnSpec, entry: bytes, lease: Lease | None, prepared: PreparedTurn
) -> NewTurn:
    """All that the store writes for an admitted turn, in one call."""
    parent = prepared.history.parent
    # A chain that goes on from what only a connection had begins with all of it.
    begins_chain = request.request.kept and parent is None
    items = (*prepared.history.items, *prepared.new_items) if begins_chain else prepared.new_items
    return NewTurn(
        ref=ref,
        fingerprint=request.fingerprint,
        record=pack(spec),
        entry=entry,
        last_seq=1,
        lease=lease,
        kept=request.request.kept,
        idempotency_key=request.request.idempotency_key,
        conversation=request.request.conversation_id,
        parent=parent,
        input=tuple(Item(item["id"], msgspec.json.encode(item)) for item in items),
    )
