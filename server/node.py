"""This node's work: what it has admitted, what it runs, what waits for a slot."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import structlog

from engine.base import Engine
from server.persist import REPEAT, answered
from server.prepare import Ask, Draft, draft
from server.presence import Presence
from server.protocol import errors, response
from server.protocol.errors import WireError
from server.protocol.log import encode
from server.protocol.request import Request
from server.protocol.status import Status
from server.record import Record, pack, unpack
from server.runner import Runner, Verdict, first_events
from server.store.base import (
    Answer,
    Item,
    KeyReused,
    Lease,
    Locked,
    Logged,
    Missing,
    Moved,
    NewTurn,
    Outcome,
    Ref,
    Store,
    StoreDown,
    StoreError,
)
from server.store.journal import Journal
from server.telemetry import Facts, Telemetry

T = TypeVar("T")

READS = 5  # of a history that grows while it is read
CLOSING = 2.0  # seconds that turns which are being ended get when the node closes
WHOLE = 1_000_000  # entries: no log is longer
OTHER_MODEL = Verdict(
    Status.FAILED,
    error=("cannot_continue", "The answer was cut and cannot be continued: another model is loaded now."),
)

log = structlog.get_logger(__name__)


class Admitted(msgspec.Struct, frozen=True):
    """A turn that has an end ahead of it."""

    ref: Ref
    record: Record


class Place(msgspec.Struct, frozen=True):
    """A turn that this node is to run. `seen` is the lease that it had before, None in the queue."""

    ref: Ref
    record: Record
    facts: Facts
    seen: Lease | None = None


class Node:
    """Admits turns, runs them in slots, stops them."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        journal: Journal,
        telemetry: Telemetry,
        *,
        name: str,
        queue: int,
        grace: float = 30.0,
        patience: float = 5.0,
    ) -> None:
        self.name = name  # of the model, as clients know it
        self.born = int(time.time())
        self.engine = engine
        self.store = store
        self.journal = journal
        self.telemetry = telemetry
        self.owner = secrets.token_hex(8)  # this process start
        self.queue = queue  # turns that may wait
        self.patience = patience  # seconds for which an admission is repeated while the store does not answer
        self.presence = Presence(grace, self._give_up)
        self.state = "loading"  # loading | ready | failed | stopped
        self.error = ""  # why the state is `failed`
        self.since = time.monotonic()  # when loading began
        self.took = 0.0  # seconds that loading took, once ready
        self.running: dict[Ref, Runner] = {}
        self.busy = 0  # slots that are taken, or promised to a turn that is being admitted or claimed
        self.waiting: deque[Place] = deque()
        self.usual = 0.0  # seconds that a turn takes, on average; 0 until one has ended
        self.tasks: set[asyncio.Task[Any]] = set()

    # -- life ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the engine; the sockets are open meanwhile and say so."""
        await self.engine.start()
        self.took = time.monotonic() - self.since
        self.state = "ready"
        log.info("ready", model=self.engine.model.name, seconds=round(self.took, 1), slots=self.engine.model.slots)

    def fail(self, reason: str) -> None:
        """The engine did not start, or ended."""
        self.state, self.error = "failed", reason
        log.error("the engine failed", reason=reason)

    async def close(self) -> None:
        """Stop running; what is unfinished stays in the log for whoever comes next."""
        self.state = "stopped"
        self.presence.close()
        late = set(self.tasks)
        for wait in (CLOSING, None):  # a turn that was being stopped takes its first cancel for that
            for task in late:
                task.cancel()
            if late:
                _, late = await asyncio.wait(late, timeout=wait)

    @property
    def seconds(self) -> float:
        """How long loading took, or takes."""
        return self.took or time.monotonic() - self.since

    # -- turns ---------------------------------------------------------------------------------------------------

    async def create(self, ask: Ask) -> Admitted:
        """Prepare and admit a turn. Raises WireError; nothing was accepted then.

        Cancelling it during admission leaves a turn that runs like any other: it cannot be known whether it was one.
        """
        before = await self._before(ask)
        if before is not None:
            return await self._existing(before)
        self._ready(ask.request)
        id = f"resp_{secrets.token_hex(12)}"
        facts = self.telemetry.begin(id, self.engine.model.name, time.time(), ask.headers)
        try:
            return await self._accept(ask, id, facts)
        except (WireError, StoreError) as error:
            self.telemetry.refused(facts, error.code if isinstance(error, WireError) else "server_overloaded")
            raise

    async def count(self, ask: Ask) -> int:
        """Input tokens of a request that is not run. Raises WireError."""
        self._ready(ask.request)
        return len((await draft(self.engine, self.store, ask, "resp_count")).prompt.token_ids)

    async def cancel(self, ref: Ref) -> Outcome:
        """Ask for a turn's end, wherever it runs."""
        runner = self.running.get(ref)
        if runner is not None:
            runner.stop()
        outcome = await self.store.cancel(ref)
        for place in [place for place in self.waiting if place.ref == ref]:
            self.waiting.remove(place)
            self._take(place, stop=True)
        return outcome

    def whereabouts(self, ref: Ref, *, begun: bool) -> tuple[str, dict[str, Any]]:
        """What a viewer who sees nothing is told: its place in the queue, or what it waits for."""
        places = [place.ref for place in self.waiting]
        if ref in places:
            position = places.index(ref) + 1
            return "throughline:queue", {"position": position, "estimated_seconds": self._estimate(position)}
        reason = "log" if self.journal.stalled else "takeover" if begun and ref not in self.running else "prefill"
        return "throughline:waiting", {"reason": reason}

    async def adopt(self, ref: Ref, seen: Lease | None) -> bool:
        """Go on with a turn that nobody runs, as soon as there is a slot. False: it is gone."""
        turn = await self.store.turn(ref)
        if turn is None or ref in self.running or any(place.ref == ref for place in self.waiting):
            return False
        record = unpack(turn.record)
        facts = self.telemetry.resume(ref.id, record.response["model"], record.asked, record.trace)
        self._expect(ref, record)
        self.waiting.append(Place(ref, record, facts, seen))
        self._fill()
        return True

    def _estimate(self, position: int) -> float | None:
        """Seconds until a place in the queue is at a slot, if turns go on as they went."""
        return round(self.usual * position / self.engine.model.slots, 1) if self.usual else None

    # -- admitting -----------------------------------------------------------------------------------------------

    def _ready(self, request: Request) -> None:
        if self.state != "ready":
            raise errors.loading(2) if self.state == "loading" else errors.overloaded("The model is not available.", 5)
        name = self.engine.model.name
        if request.model not in {None, name}:
            raise errors.unknown_model(str(request.model), name)

    async def _before(self, ask: Ask) -> Ref | None:
        """The turn that the same request with the same key made, whatever its history is by now."""
        key = ask.request.idempotency_key
        made = None if key is None else await self.store.made(ask.caller, key)
        return None if made is None or made[1] != ask.fingerprint else Ref(ask.caller, made[0])

    async def _accept(self, ask: Ask, id: str, facts: Facts) -> Admitted:
        for _ in range(READS):
            with self.telemetry.step(facts, "render"):
                ready = await draft(self.engine, self.store, ask, id)
            try:
                with self.telemetry.step(facts, "admit"):
                    return await asyncio.shield(self._spawn(self._admit(ask, id, ready, facts)))
            except Moved:
                continue
        raise errors.locked(ask.request.conversation_id or "")

    async def _admit(self, ask: Ask, id: str, ready: Draft, facts: Facts) -> Admitted:
        leased = self._promise()
        lease = Lease(1, self.owner) if leased else None
        launched = False
        try:
            record = self._record(ask, id, ready, facts)
            entry = encode(None, first_events(leased=leased))
            place = Place(Ref(ask.caller, id), record, facts)
            existing = await self._create(self._new(ask, place, entry, lease, ready))
            if existing is not None:
                return await self._existing(Ref(ask.caller, existing))
            self._expect(place.ref, record)
            if lease is not None:
                launched = self._launch(place, lease, [Logged(1, entry)])
            else:
                self.waiting.append(place)
        finally:
            if leased and not launched:
                self.busy -= 1
            self._fill()
        return Admitted(place.ref, place.record)

    def _promise(self) -> bool:
        """Take a slot, or a place in the queue. Raises WireError when both are gone."""
        if self.busy < self.engine.model.slots and not self.waiting:
            self.busy += 1
            return True
        if len(self.waiting) >= self.queue:
            message = f"All slots are taken and {self.queue} turns wait."
            raise errors.overloaded(message, max(1, round(self._estimate(1) or 2)))
        return False

    def _record(self, ask: Ask, id: str, ready: Draft, facts: Facts) -> Record:
        model = self.engine.model
        return Record(
            response=response.created(ask.request, id, int(facts.asked), model.name),
            prompt=ready.prompt,
            params=ready.params,
            model=model.version,
            lane=ask.lane,
            generates=ask.request.generates,
            input=() if ask.request.kept else (*ready.past, *ready.input),
            asked=facts.asked,
            trace=self.telemetry.traceparent(facts),
        )

    def _new(self, ask: Ask, place: Place, entry: bytes, lease: Lease | None, ready: Draft) -> NewTurn:
        return NewTurn(
            ref=place.ref,
            fingerprint=ask.fingerprint,
            record=pack(place.record),
            entry=entry,
            top=1,
            lease=lease,
            kept=ask.request.kept,
            idempotency_key=ask.request.idempotency_key,
            conversation=ask.request.conversation_id,
            parent=ready.parent,
            input=tuple(Item(item["id"], msgspec.json.encode(item)) for item in ready.input),
        )

    async def _create(self, new: NewTurn) -> str | None:
        """Repeated for a while: without an answer nobody knows whether the turn is there."""
        until = time.monotonic() + self.patience
        while True:
            try:
                return (await self.store.create(new)).existing
            except StoreDown:
                if time.monotonic() > until:
                    self._spawn(self._withdraw(new))
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

    async def _existing(self, ref: Ref) -> Admitted:
        turn = await self.store.turn(ref)
        if turn is not None:
            return Admitted(ref, unpack(turn.record))
        stored = await self.store.stored(ref)
        kept = None if stored is None else msgspec.json.decode(stored.response)
        raise errors.position_lost("This request was answered before; its events are no longer kept.", kept)

    def _expect(self, ref: Ref, record: Record) -> None:
        if not record.response["store"]:
            self.presence.expect(ref)

    def _give_up(self, ref: Ref) -> None:
        log.info("nobody looks at an unkept turn", response_id=ref.id)
        self._spawn(answered(lambda: self.cancel(ref)))

    # -- running -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give free slots to those who wait longest."""
        while self.waiting and self.state == "ready" and self.busy < self.engine.model.slots:
            self._take(self.waiting.popleft())
        self._count()

    def _take(self, place: Place, *, stop: bool = False) -> None:
        self.busy += 1
        self._spawn(self._start(place, stop=stop))

    async def _start(self, place: Place, *, stop: bool) -> None:
        """Claim a turn that waited, and run it."""
        launched = False
        try:
            outcome = await answered(lambda: self.store.claim(place.ref, place.seen, self.owner))
            if outcome.lease is None or outcome.answer not in {Answer.OK, Answer.DUPLICATE}:
                self.presence.forget(place.ref)
                return
            page = await answered(lambda: self.store.read(place.ref, -1, WHOLE))
            if place.ref in self.running or not page.entries:
                return
            launched = self._launch(place, outcome.lease, list(page.entries), stop=stop or outcome.stop)
        finally:
            if not launched:
                self.busy -= 1
                self._fill()

    def _launch(self, place: Place, lease: Lease, entries: list[Logged], *, stop: bool = False) -> bool:
        """Run in a slot that is already counted."""
        verdict = None if place.record.model == self.engine.model.version else OTHER_MODEL
        runner = Runner(
            self.engine, self.journal, self.telemetry, place.ref, lease, place.record, entries, place.facts, verdict
        )
        if stop:
            runner.stop()
        self.running[place.ref] = runner
        self._spawn(self._run(runner))
        self._count()
        return True

    async def _run(self, runner: Runner) -> None:
        began = time.monotonic()
        try:
            await runner.run()
        finally:
            took = time.monotonic() - began
            self.usual += (took - self.usual) * (0.1 if self.usual else 1)
            del self.running[runner.ref]
            self.presence.forget(runner.ref)
            self.busy -= 1
            self._fill()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, WireError | StoreError):
            log.error("a turn's task failed", exc_info=error)

    def _count(self) -> None:
        self.telemetry.now.running = len(self.running)
        self.telemetry.now.waiting = len(self.waiting)
