"""This node's work: what it has admitted, what it runs, what waits for a slot."""

import asyncio
import secrets
import time
from collections import deque
from typing import Any

import msgspec
import structlog

from engine.base import BadParameter, BadRequest, Engine, Params, Prompt, PromptTooLong
from server import history
from server.protocol import errors, response
from server.protocol.connection import Remembered
from server.protocol.errors import WireError
from server.protocol.items import named, to_messages
from server.protocol.log import encode
from server.protocol.request import Request
from server.protocol.sampling import params_of
from server.record import Record, pack, unpack
from server.runner import Runner, first_events
from server.store.base import (
    Answer,
    Checkpoint,
    Item,
    KeyReused,
    Lease,
    Locked,
    Logged,
    Missing,
    NewTurn,
    Outcome,
    Ref,
    Store,
)
from server.store.journal import Journal
from server.telemetry import Facts, Telemetry

log = structlog.get_logger(__name__)


class Ask(msgspec.Struct, frozen=True):
    """A request with everything that came around it."""

    caller: str
    request: Request
    fingerprint: str
    lane: str | None = None
    remembered: Remembered | None = None
    headers: dict[str, str] = {}


class Admitted(msgspec.Struct, frozen=True):
    """A turn that has an end ahead of it."""

    ref: Ref
    record: Record


class Draft(msgspec.Struct, frozen=True):
    """A request, rendered and checked, before it is admitted."""

    prompt: Prompt
    params: Params
    past: tuple[dict[str, Any], ...]
    input: tuple[dict[str, Any], ...]
    parent: Checkpoint | None


class Node:
    """Admits turns, runs them in slots, stops them."""

    def __init__(
        self, engine: Engine, store: Store, journal: Journal, telemetry: Telemetry, *, name: str, queue: int
    ) -> None:
        self.name = name  # of the model, as clients know it
        self.born = int(time.time())
        self.engine = engine
        self.store = store
        self.journal = journal
        self.telemetry = telemetry
        self.owner = secrets.token_hex(8)  # this process start
        self.queue = queue  # turns that may wait
        self.state = "loading"  # loading | ready | failed | stopped
        self.error = ""  # why the state is `failed`
        self.since = time.monotonic()  # when loading began
        self.took = 0.0  # seconds that loading took, once ready
        self.running: dict[Ref, Runner] = {}
        self.busy = 0  # slots that are taken, or promised to a turn that is being admitted
        self.waiting: deque[tuple[Ref, Record, Facts]] = deque()
        self.tasks: set[asyncio.Task[None]] = set()

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
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def seconds(self) -> float:
        """How long loading took, or takes."""
        return self.took or time.monotonic() - self.since

    # -- turns ---------------------------------------------------------------------------------------------------

    async def create(self, ask: Ask) -> Admitted:
        """Prepare and admit a turn. Raises WireError; nothing was accepted then."""
        self._ready(ask.request)
        id = f"resp_{secrets.token_hex(12)}"
        facts = self.telemetry.begin(id, self.engine.model.name, time.time(), ask.headers)
        try:
            with self.telemetry.step(facts, "render"):
                draft = await self._prepare(ask, id)
            with self.telemetry.step(facts, "admit"):
                return await self._admit(ask, id, draft, facts)
        except WireError as error:
            self.telemetry.refused(facts, error.code)
            raise

    async def count(self, ask: Ask) -> int:
        """Input tokens of a request that is not run. Raises WireError."""
        self._ready(ask.request)
        return len((await self._prepare(ask, "resp_count")).prompt.token_ids)

    async def cancel(self, ref: Ref) -> Outcome:
        """Ask for a turn's end, wherever it runs."""
        outcome = await self.store.cancel(ref)
        runner = self.running.get(ref)
        if runner is not None:
            runner.stop()
        for place in [place for place in self.waiting if place[0] == ref]:
            self.waiting.remove(place)
            self.busy += 1
            self._spawn(self._start_waiting(*place, stop=True))
        return outcome

    def whereabouts(self, ref: Ref, *, begun: bool) -> tuple[str, dict[str, Any]]:
        """What a viewer who sees nothing is told: its place in the queue, or what it waits for."""
        places = [place[0] for place in self.waiting]
        if ref in places:
            return "throughline:queue", {"position": places.index(ref) + 1, "estimated_seconds": None}
        reason = "log" if self.journal.stalled else "takeover" if begun and ref not in self.running else "prefill"
        return "throughline:waiting", {"reason": reason}

    async def adopt(self, ref: Ref, seen: Lease | None) -> bool:
        """Go on with a turn that nobody runs."""
        outcome = await self.store.claim(ref, seen, self.owner)
        turn = await self.store.turn(ref)
        if outcome.answer not in {Answer.OK, Answer.DUPLICATE} or outcome.lease is None or turn is None:
            return False
        record = unpack(turn.record)
        entries = (await self.store.read(ref, -1, 1_000_000)).entries
        self.busy += 1
        facts = self.telemetry.resume(ref.id, record.response["model"], record.asked, record.trace)
        self._launch(ref, outcome.lease, record, list(entries), facts)
        return True

    # -- preparing -----------------------------------------------------------------------------------------------

    def _ready(self, request: Request) -> None:
        if self.state != "ready":
            raise errors.loading(2) if self.state == "loading" else errors.overloaded("The model is not available.", 5)
        name = self.engine.model.name
        if request.model not in {None, name}:
            raise errors.unknown_model(str(request.model), name)

    async def _prepare(self, ask: Ask, id: str) -> Draft:
        past = await history.load(self.store, ask.caller, ask.request, ask.remembered)
        own = tuple(named(ask.request.items, id.removeprefix("resp_") + "i"))
        params = params_of(ask.request)
        prompt = await self._fit(ask, [*past.items, *own], params)
        params = self.engine.admit(prompt, params)
        if past.parent is None:
            return Draft(prompt, params, (), (*past.items, *own), None)
        return Draft(prompt, params, past.items, own, past.parent)

    async def _fit(self, ask: Ask, items: list[Any], params: Params) -> Prompt:
        """Render; with `truncation: auto` drop the oldest items until the rest fits."""
        while True:
            try:
                return await self._render(ask, items, params)
            except PromptTooLong as error:
                if ask.request.truncation != "auto" or len(items) < 2:
                    raise errors.too_long(str(error)) from None
                share = error.limit / error.tokens
                items = items[max(1, int(len(items) * (1 - share))) :]
            except BadRequest as error:
                raise _refusal(error) from None

    async def _render(self, ask: Ask, items: list[Any], params: Params) -> Prompt:
        prompt = await self.engine.render(to_messages(ask.request.instructions, items), params, ask.caller)
        if not prompt.token_ids:
            raise errors.invalid("The input renders to an empty prompt.", "input")
        self.engine.admit(prompt, params)
        return prompt

    # -- admitting -----------------------------------------------------------------------------------------------

    async def _admit(self, ask: Ask, id: str, draft: Draft, facts: Facts) -> Admitted:
        lease = Lease(1, self.owner) if self._promise() else None
        record = self._record(ask, id, draft, facts)
        entry = encode(None, first_events(leased=lease is not None))
        admitted = Admitted(Ref(ask.caller, id), record)
        try:
            existing = await self._create(self._new(ask, admitted.ref, record, entry, lease, draft))
        except BaseException:
            self._release(lease)
            raise
        if existing is not None:
            self._release(lease)
            return await self._existing(Ref(ask.caller, existing))
        if lease is None:
            self.waiting.append((admitted.ref, record, facts))
            self._fill()
        else:
            self._launch(admitted.ref, lease, record, [Logged(1, entry)], facts)
        return admitted

    def _promise(self) -> bool:
        """Take a slot, or a place in the queue. Raises WireError when both are gone."""
        if self.busy < self.engine.model.slots and not self.waiting:
            self.busy += 1
            return True
        if len(self.waiting) >= self.queue:
            raise errors.overloaded(f"All slots are taken and {self.queue} turns wait.", 2)
        return False

    def _release(self, lease: Lease | None) -> None:
        if lease is not None:
            self.busy -= 1
            self._fill()

    def _record(self, ask: Ask, id: str, draft: Draft, facts: Facts) -> Record:
        model = self.engine.model
        return Record(
            response=response.created(ask.request, id, int(facts.asked), model.name),
            prompt=draft.prompt,
            params=draft.params,
            model=model.version,
            lane=ask.lane,
            generates=ask.request.generates,
            input=() if ask.request.kept else (*draft.past, *draft.input),
            asked=facts.asked,
            trace=self.telemetry.traceparent(facts),
        )

    def _new(self, ask: Ask, ref: Ref, record: Record, entry: bytes, lease: Lease | None, draft: Draft) -> NewTurn:
        return NewTurn(
            ref=ref,
            fingerprint=ask.fingerprint,
            record=pack(record),
            entry=entry,
            top=1,
            lease=lease,
            kept=ask.request.kept,
            idempotency_key=ask.request.idempotency_key,
            conversation=ask.request.conversation_id,
            parent=draft.parent,
            input=tuple(Item(item["id"], msgspec.json.encode(item)) for item in draft.input),
        )

    async def _create(self, new: NewTurn) -> str | None:
        try:
            return (await self.store.create(new)).existing
        except Locked as error:
            raise errors.locked(error.conversation) from None
        except KeyReused:
            raise errors.key_reused() from None
        except Missing as error:
            raise errors.not_found(error.kind, error.id) from None

    async def _existing(self, ref: Ref) -> Admitted:
        turn = await self.store.turn(ref)
        if turn is None:
            raise errors.position_lost("This request was answered before; its events are no longer kept.")
        return Admitted(ref, unpack(turn.record))

    # -- running -------------------------------------------------------------------------------------------------

    def _launch(self, ref: Ref, lease: Lease, record: Record, entries: list[Logged], facts: Facts) -> None:
        runner = Runner(self.engine, self.journal, self.telemetry, ref, lease, record, entries, facts)
        self.running[ref] = runner
        self._spawn(self._run(runner))
        self._count()

    async def _run(self, runner: Runner) -> None:
        try:
            await runner.run()
        finally:
            del self.running[runner.ref]
            self._release(runner.lease)

    def _fill(self) -> None:
        """Give free slots to those who wait longest."""
        while self.waiting and self.state == "ready" and self.busy < self.engine.model.slots:
            self.busy += 1
            self._spawn(self._start_waiting(*self.waiting.popleft()))
        self._count()

    async def _start_waiting(self, ref: Ref, record: Record, facts: Facts, *, stop: bool = False) -> None:
        try:
            outcome = await self.store.claim(ref, None, self.owner)
            claimed = outcome.lease is not None and outcome.answer in {Answer.OK, Answer.DUPLICATE}
            entries = (await self.store.read(ref, -1, 1_000)).entries if claimed else ()
        except BaseException:
            self._release(Lease(0, self.owner))
            raise
        if not entries or outcome.lease is None:
            self._release(Lease(0, self.owner))
            return
        self._launch(ref, outcome.lease, record, list(entries), facts)
        if stop:
            self.running[ref].stop()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a turn's task failed", exc_info=task.exception())

    def _count(self) -> None:
        self.telemetry.now.running = len(self.running)
        self.telemetry.now.waiting = len(self.waiting)


def _refusal(error: BadRequest) -> WireError:
    if isinstance(error, BadParameter):
        if error.unsupported:
            return errors.unsupported(error.name, error.reason)
        return errors.invalid(f"Invalid '{error.name}': {error.reason}.", error.name, "invalid_value")
    return errors.invalid(str(error), "input")
