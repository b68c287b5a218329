"""This node's work: what it runs, what waits for a slot, what it takes over and gives away."""

import asyncio
import secrets
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from engine.base import Engine, EngineDead
from server.log.journal import Journal
from server.node.admission import Admission, Admitted, readmission
from server.node.heartbeat import HeartbeatConfig, Heartbeater, NodeInfo
from server.node.queue import AdmissionQueue, QueuedTurn, queued_turn
from server.node.takeover import foreseen, recalled
from server.protocol import errors
from server.protocol.errors import WireError
from server.protocol.request import Request
from server.store.contracts import Store
from server.store.errors import StoreError
from server.store.retry import until_answered
from server.store.types import Lease, LogEntry, NewTurn, TurnRef, WriteResult, WriteStatus
from server.telemetry.instruments import Telemetry, TurnTelemetry
from server.turns.presence import Presence
from server.turns.prompt import TurnRequest, prepare
from server.turns.runner import Runner, TurnOutcome
from server.turns.spec import TurnSpec

T = TypeVar("T")

CLOSING = 2.0  # seconds that turns which are being ended get when the node closes
WHOLE = 1_000_000  # entries: no log is longer

log = structlog.get_logger(__name__)


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
        alone: bool = False,
        tempo: HeartbeatConfig | None = None,
    ) -> None:
        self.name = name  # of the model, as clients know it
        self.born = int(time.time())
        self.engine = engine
        self.store = store
        self.journal = journal
        self.telemetry = telemetry
        self.owner = secrets.token_hex(8)  # this process start
        self.queue = queue  # turns that may wait
        self.alone = alone  # nobody else uses this store: what another process left is an orphan
        self.presence = Presence(grace, self._give_up)
        self.admission = Admission(engine, store, telemetry, self, patience=patience)
        self.news = asyncio.Event()  # a node's state changed: time to look for turns that nobody runs
        self.heart = self._heart(tempo)
        self.state = "loading"  # loading | ready | draining | failed | stopped
        self.error = ""  # why the state is `failed`
        self.failed = asyncio.Event()
        self.since = time.monotonic()  # when loading began
        self.took = 0.0  # seconds that loading took, once ready
        self.running: dict[TurnRef, Runner] = {}
        self.busy = 0  # slots that are taken, or promised to a turn that is being admitted or claimed
        self.waiting = AdmissionQueue()
        self.claiming: set[TurnRef] = set()  # turns on their way from `waiting` to `running`
        self.suspects: set[TurnRef] = set()  # of those that run or are being claimed
        self.usual = 0.0  # seconds that a turn takes, on average; 0 until one has ended
        self.tasks: set[asyncio.Task[Any]] = set()

    def _heart(self, tempo: HeartbeatConfig | None) -> Heartbeater:
        told = {"changed": self.news.set, "missed": self.journal.on_store_lost, "doubted": self.journal.on_store_back}
        return Heartbeater(self.store, self.owner, self.note, mail=self._called, tempo=tempo, **told)

    # -- life ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the engine; the sockets are open meanwhile and say so."""
        await self.engine.start()
        self.took = time.monotonic() - self.since
        self.state = "ready"
        log.info("ready", model=self.engine.model.name, seconds=round(self.took, 1), slots=self.engine.model.slots)

    def fail(self, reason: str) -> None:
        """The engine did not start, or ended. Others take what it ran, as from a node that died."""
        if self.state in {"failed", "stopped"}:
            return
        self.leave("failed")
        self.error = reason
        self.failed.set()
        self.spawn(self.heart.beat())
        log.error("the engine failed", reason=reason)

    def leave(self, state: str) -> None:
        """Begin nothing any more. What waits here is in the store too, for everybody."""
        self.state = state
        self.waiting = AdmissionQueue()
        self._count()

    async def close(self) -> None:
        """Stop running; what is unfinished stays in the log for whoever comes next."""
        self.leave("stopped")
        self.presence.close()
        late = set(self.tasks)
        for wait in (CLOSING, None):  # a turn that was being stopped takes its first cancel for that
            for task in late:
                task.cancel()
            if late:
                _, late = await asyncio.wait(late, timeout=wait)
        await self.heart.beat()

    @property
    def seconds(self) -> float:
        """How long loading took, or takes."""
        return self.took or time.monotonic() - self.since

    def note(self) -> NodeInfo:
        """What others are told."""
        if self.state not in {"ready", "draining"}:
            return NodeInfo(self.state)
        return NodeInfo(self.state, self.engine.model.version, max(0, self.engine.model.slots - self.busy))

    def is_gone(self, owner: str) -> bool:
        """Whether this process will never write again."""
        if owner == self.owner:
            return False
        return self.alone or self.heart.detector.is_gone(owner, time.monotonic())

    # -- turns ---------------------------------------------------------------------------------------------------

    async def create(self, ask: TurnRequest) -> Admitted:
        """Prepare and admit a turn. Raises WireError; nothing was accepted then.

        Cancelling it during admission leaves a turn that runs like any other: it cannot be known whether it was one.
        """
        before = await self.admission.before(ask)
        if before is not None:
            return await self.admission.existing(before)
        self._ready(ask.request)
        id = f"resp_{secrets.token_hex(12)}"
        facts = self.telemetry.begin(id, self.engine.model.name, time.time(), ask.headers)
        try:
            return await self.admission.accept(ask, id, facts)
        except (WireError, StoreError) as error:
            self.telemetry.refused(facts, error.code if isinstance(error, WireError) else "server_overloaded")
            raise

    async def count(self, ask: TurnRequest) -> int:
        """Input tokens of a request that is not run. Raises WireError."""
        self._ready(ask.request)
        return len((await prepare(self.engine, self.store, ask, "resp_count")).prompt.token_ids)

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Ask for a turn's end, wherever it runs."""
        runner = self.running.get(ref)
        if runner is not None:
            runner.stop()
        outcome = await self.store.cancel(ref)
        if outcome.status is WriteStatus.OK and ref not in self.running:
            await self._stop_elsewhere(ref, outcome.lease)
        return outcome

    async def _stop_elsewhere(self, ref: TurnRef, lease: Lease | None) -> None:
        """Tell the owner. A turn without a living one is ended here."""
        place = self.waiting.remove(ref)
        if place is not None:
            self._take(place, stop=True)
        elif lease is None or self.is_gone(lease.owner):
            await self.adopt(ref, stop=True)
        elif lease.owner != self.owner:
            await self.store.notify_owner(lease.owner, ref)

    def _called(self, ref: TurnRef) -> None:
        """Another node says that this turn is to be stopped."""
        if ref in self.running:
            self.running[ref].stop()

    def whereabouts(self, ref: TurnRef, *, begun: bool) -> tuple[str, dict[str, Any]]:
        """What a viewer who sees nothing is told: its place in the queue, or what it waits for."""
        position = self.waiting.position(ref)
        if position is not None:
            return "throughline:queue", {"position": position, "estimated_seconds": self._estimate(position)}
        reason = "log" if self.journal.stalled else "takeover" if begun and ref not in self.running else "prefill"
        return "throughline:waiting", {"reason": reason}

    def knows(self, ref: TurnRef) -> bool:
        """Whether this node runs it, or is about to."""
        return ref in self.running or ref in self.claiming or self.waiting.position(ref) is not None

    async def adopt(self, ref: TurnRef, *, stop: bool = False, other_model: bool = False) -> bool:
        """Go on with a turn that nobody runs, as soon as there is a slot; to stop it none is needed.

        False: it is gone, or written for another model, which is failed only with `other_model`.
        """
        turn = await self.store.turn(ref)
        if turn is None or self.knows(ref):
            return False
        place = queued_turn(turn)
        if place.spec.model_version != self.engine.model.version and not (stop or other_model):
            return False
        self._expect(ref, place.spec)
        if stop or turn.stop:
            self._take(place, stop=True)
        else:
            self.waiting.push(place)
            self._fill()
        return True

    def _estimate(self, position: int) -> float | None:
        """Seconds until a place in the queue is at a slot, if turns go on as they went."""
        return round(self.usual * position / self.engine.model.slots, 1) if self.usual else None

    def _ready(self, request: Request) -> None:
        if self.state == "loading":
            raise errors.loading(2)
        if self.state != "ready":
            draining = self.state == "draining"
            raise errors.overloaded("This node is stopping." if draining else "The model is not available.", 1)
        name = self.engine.model.name
        if request.model not in {None, name}:
            raise errors.unknown_model(str(request.model), name)

    def _expect(self, ref: TurnRef, record: TurnSpec) -> None:
        if not record.response["store"]:
            self.presence.require(ref)

    def _give_up(self, ref: TurnRef) -> None:
        self.spawn(self._end_unwatched(ref))

    async def _end_unwatched(self, ref: TurnRef) -> None:
        """Unless somebody looks at it elsewhere."""
        turn = await until_answered(lambda: self.store.turn(ref))
        if turn is None or not self.presence.on_remote_report(ref, turn.viewer_reports):
            log.info("nobody looks at an unkept turn", response_id=ref.id)
            await until_answered(lambda: self.cancel(ref))

    # -- slots, for admission ------------------------------------------------------------------------------------

    def promise(self) -> bool:
        """Take a slot (True), or a place in the queue. Raises WireError when both are gone."""
        if self.busy < self.engine.model.slots and not self.waiting:
            self.busy += 1
            return True
        if len(self.waiting) >= self.queue:
            message = f"All slots are taken and {self.queue} turns wait."
            raise errors.overloaded(message, max(1, round(self._estimate(1) or 2)))
        return False

    def run(
        self, admitted: Admitted, facts: TurnTelemetry, lease: Lease, entries: list[LogEntry], origin: NewTurn
    ) -> None:
        """Run it in the slot that was promised."""
        self._expect(admitted.ref, admitted.record)
        self._launch(QueuedTurn(admitted.ref, admitted.record, facts), lease, entries, origin=origin)

    def wait(self, admitted: Admitted, facts: TurnTelemetry) -> None:
        """Queue it."""
        self._expect(admitted.ref, admitted.record)
        self.waiting.push(QueuedTurn(admitted.ref, admitted.record, facts))
        self._fill()

    def take_back(self) -> None:
        """A slot that was promised is not needed."""
        self.busy -= 1
        self._fill()

    # -- running -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Give free slots to those who wait longest."""
        while self.state == "ready" and self.busy < self.engine.model.slots:
            place = self.waiting.pop_next(self.suspects)
            if place is None:
                break
            self._take(place)
        self._count()

    def _take(self, place: QueuedTurn, *, stop: bool = False) -> None:
        self.busy += 1
        self.claiming.add(place.ref)
        if place.suspect:
            self.suspects.add(place.ref)
        self.spawn(self._start(place, stop=stop))

    async def _start(self, place: QueuedTurn, *, stop: bool) -> None:
        """Claim a turn that waited, and run it."""
        launched, lost = False, None
        try:
            if place.seen_lease is not None and not stop:  # before the claim: who hands a turn over writes on meanwhile
                place, lost = await recalled(self.engine, self.store, place)
            outcome = await until_answered(lambda: self.store.claim(place.ref, place.seen_lease, self.owner))
            if outcome.lease is None or outcome.status not in {WriteStatus.OK, WriteStatus.DUPLICATE}:
                self.presence.forget(place.ref)
                return
            page = await until_answered(lambda: self.store.read(place.ref, -1, WHOLE))
            if place.ref in self.running or not page.entries:
                return
            verdict = foreseen(place, outcome, self.engine.model.version) or lost
            stop = stop or outcome.stop
            if not stop and verdict is None:  # one of the queue: of all who can help, only one renders it
                place, verdict = await recalled(self.engine, self.store, place)
            self._launch(place, outcome.lease, list(page.entries), verdict=verdict, hole=outcome.hole, stop=stop)
            launched = True
        except EngineDead as error:
            self.fail(str(error))
        finally:
            self.claiming.discard(place.ref)
            if not launched:
                self._free(place.ref)

    def _launch(
        self,
        place: QueuedTurn,
        lease: Lease,
        entries: list[LogEntry],
        *,
        origin: NewTurn | None = None,
        verdict: TurnOutcome | None = None,
        hole: bool = False,
        stop: bool = False,
    ) -> None:
        """Run in a slot that is already counted."""
        runner = Runner(
            self.engine,
            self.journal,
            self.telemetry,
            place.ref,
            lease,
            place.spec,
            entries,
            place.telemetry or self._resumed(place),
            verdict,
            hole=hole,
            origin=origin or readmission(place.ref, place.spec, lease, entries[0]),
        )
        if stop:
            runner.stop()
        self.running[place.ref] = runner
        self.spawn(self._run(runner))
        if self.state == "draining":
            self.spawn(until_answered(lambda: self.store.offer(place.ref, lease)))
        self._count()

    def _resumed(self, place: QueuedTurn) -> TurnTelemetry:
        record = place.spec
        return self.telemetry.resume(place.ref.id, record.response["model"], record.requested_at, record.traceparent)

    async def _run(self, runner: Runner) -> None:
        began = time.monotonic()
        try:
            await runner.run()
        except EngineDead as error:
            self.fail(str(error))
        finally:
            took = time.monotonic() - began
            self.usual += (took - self.usual) * (0.1 if self.usual else 1)
            del self.running[runner.ref]
            self.presence.forget(runner.ref)
            self._free(runner.ref)

    def _free(self, ref: TurnRef) -> None:
        self.busy -= 1
        self.suspects.discard(ref)
        self._fill()

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do something that nobody waits for."""
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
        self.telemetry.gauges.running = len(self.running)
        self.telemetry.gauges.waiting = len(self.waiting)
