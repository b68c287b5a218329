"""The slots of this node's engine: which turns run in them, and which one gets the next.

A slot is taken from the moment it is promised to a turn, before that turn is admitted or claimed, so that there are
never more turns than slots. A turn waits in the `AdmissionQueue`, is being claimed (`_claiming`), runs (`running`), and
frees its slot.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from engine.base import Engine, EngineDead
from server.background import BackgroundTasks
from server.log.journal import Journal
from server.node.queue import AdmissionQueue, QueuedTurn, queued_turn
from server.node.takeover import readmission, refusal, with_prompt
from server.protocol import errors
from server.protocol.budget import ByteBudget, too_many_bytes
from server.store.contracts import Store
from server.store.retry import until_answered
from server.store.types import Lease, Turn, TurnRef, WriteStatus
from server.telemetry.instruments import Telemetry
from server.turns.preparation import Preparations
from server.turns.presence import Presence
from server.turns.runner import LeasedTurn, Runner

WHOLE_LOG = 1_000_000  # entries: no log is longer
OVERDUE_SECONDS = 5.0  # by which a queued turn of the store must be older than what waits here, to be run first

log = structlog.get_logger(__name__)


class Resources(msgspec.Struct, frozen=True):
    """What every part of a node works with. `owner` names this process start in leases."""

    engine: Engine
    store: Store
    journal: Journal
    telemetry: Telemetry
    tasks: BackgroundTasks
    preparations: Preparations
    owner: str


class SlotScheduler:
    """Gives slots to turns: those admitted here, those of the store's queue, and those whose owner is gone."""

    def __init__(
        self,
        resources: Resources,
        presence: Presence,
        *,
        max_queue: int,
        turn_bytes: int,
        on_engine_dead: Callable[[str], None],
        is_still_gone: Callable[[str], Awaitable[bool]],
    ) -> None:
        self.max_queue = max_queue  # turns that may wait
        self.running: dict[TurnRef, Runner] = {}
        self.queue = AdmissionQueue()
        self.budget = ByteBudget(turn_bytes)  # of the turns that were admitted here, until they have ended
        self.taken_slots = 0  # running, or promised to a turn that is being admitted or claimed
        self.is_open = False  # the engine is ready and the node begins new work
        self._resources = resources
        self._presence = presence
        self._on_engine_dead = on_engine_dead
        self._is_still_gone = is_still_gone  # a fresh look at an owner that was found dead
        self._claiming: set[TurnRef] = set()  # on their way from the queue to `running`
        self._suspects: set[TurnRef] = set()  # of those that run or are being claimed
        self._weights: dict[TurnRef, int] = {}  # what each of them takes
        self._mean_seconds = 0.0  # that a turn takes; 0 until one has ended
        self._offers_all = False  # the node drains: what runs is free to claim

    # -- the node's life -----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin: the engine is ready."""
        self.is_open = True
        self._fill_slots()

    def close(self) -> None:
        """Begin nothing any more. What waits here is in the store too, for every node."""
        self.is_open = False
        for queued in self.queue:
            self._drop_weight(queued.ref)
        self.queue.clear()
        self._update_gauges()

    async def offer_all(self) -> None:
        """Offer what runs, and whatever still comes to run, to the other nodes. Repeated until the store answers."""
        self._offers_all = True
        await asyncio.gather(*(self._offer(runner.ref, runner.lease) for runner in self.running.values()))

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs here, nor is about to."""
        return not self.running and not self._claiming

    @property
    def free_slots(self) -> int:
        """Slots that nobody has or was promised."""
        return max(0, self._slots - self.taken_slots)

    # -- for admission -------------------------------------------------------------------------------------------

    def reserve(self, ref: TurnRef, weight: int = 0) -> bool:
        """Promise a slot (True), or a place in the queue, to a turn that takes `weight` bytes until it has ended.

        Raises WireError 503 when both are used up, 429 when what runs and waits takes all the memory it may.
        """
        has_slot = self.taken_slots < self._slots and not self.queue
        if not has_slot and len(self.queue) >= self.max_queue:
            message = f"All slots are taken and {self.max_queue} turns wait."
            raise errors.overloaded(message, max(1, round(self._estimate(1) or 2)))
        if not self.budget.take(ref.caller, weight):
            raise too_many_bytes()
        self._weights[ref] = weight
        self.taken_slots += has_slot
        return has_slot

    def give_back(self, ref: TurnRef, *, has_slot: bool) -> None:
        """What was reserved is not needed."""
        self._drop_weight(ref)
        if has_slot:
            self.taken_slots -= 1
            self._fill_slots()

    def start(self, turn: LeasedTurn) -> None:
        """Run a turn in the slot that was reserved for it."""
        self._require_watcher(turn.ref, keeps=turn.spec.keeps)
        self._launch(turn)

    def enqueue(self, turn: QueuedTurn) -> None:
        """Run a turn that has no lease, as soon as there is a slot."""
        self._require_watcher(turn.ref, keeps=turn.spec.keeps)
        self.queue.push(turn)
        self._fill_slots()

    # -- for takeovers and stops ---------------------------------------------------------------------------------

    def knows(self, ref: TurnRef) -> bool:
        """Whether this node runs the turn, or is about to."""
        return ref in self.running or ref in self._claiming or self.queue.position(ref) is not None

    def can_help(self, turn: Turn) -> bool:
        """Whether a turn that nobody runs would run here soon: there is a slot, or it is older than who waits."""
        first = next(iter(self.queue), None)
        is_overdue = (
            first is not None and turn.lease is None and turn.created_at < first.spec.requested_at - OVERDUE_SECONDS
        )
        return self._slots - self.taken_slots - len(self.queue) > 0 or is_overdue

    async def adopt(self, ref: TurnRef, *, stop: bool = False, other_version: bool = False) -> bool:
        """Go on with a turn that nobody runs, as soon as there is a slot; to stop it none is needed.

        False: it is gone, known here already, or of another model version, which is failed only with `other_version`.
        Raises KeyError, ValueError, msgspec.DecodeError for a record that this release cannot read.
        """
        turn = await self._resources.store.turn(ref)
        if turn is None or self.knows(ref):
            return False
        queued, stop = queued_turn(turn), stop or turn.stop
        is_foreign = queued.spec.model_version != self._resources.engine.model.version
        if is_foreign and not (stop or other_version):
            return False
        if stop or is_foreign:  # to be ended: that needs no slot
            self._require_watcher(ref, keeps=queued.spec.keeps)
            self._claim(queued, stop=stop)
        else:
            self.enqueue(queued)
        return True

    def stop_running(self, ref: TurnRef) -> bool:
        """End the generation of a turn that runs here. False: it does not."""
        runner = self.running.get(ref)
        if runner is not None:
            runner.stop()
        return runner is not None

    def stop_queued(self, ref: TurnRef) -> bool:
        """End a turn that waits here, beside the slots. False: it does not wait here."""
        queued = self.queue.remove(ref)
        if queued is not None:
            self._claim(queued, stop=True)
        return queued is not None

    # -- for viewers ---------------------------------------------------------------------------------------------

    def queue_position(self, ref: TurnRef) -> tuple[int, float | None] | None:
        """Place in the queue from 1, and seconds until it has a slot if turns go on as they went. None: not queued."""
        position = self.queue.position(ref)
        return None if position is None else (position, self._estimate(position))

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _slots(self) -> int:
        return self._resources.engine.model.slots

    def _estimate(self, position: int) -> float | None:
        return round(self._mean_seconds * position / self._slots, 1) if self._mean_seconds else None

    def _require_watcher(self, ref: TurnRef, *, keeps: bool) -> None:
        if not keeps:
            self._presence.require(ref)

    def _fill_slots(self) -> None:
        """Give free slots to those who come first."""
        while self.is_open and self.taken_slots < self._slots:
            queued = self.queue.pop_next(self._suspects)
            if queued is None:
                break
            self._claim(queued)
        self._update_gauges()

    def _claim(self, queued: QueuedTurn, *, stop: bool = False) -> None:
        self.taken_slots += 1
        self._claiming.add(queued.ref)
        if queued.is_suspect:
            self._suspects.add(queued.ref)
        self._resources.tasks.spawn(self._claim_and_launch(queued, stop=stop))

    async def _claim_and_launch(self, queued: QueuedTurn, *, stop: bool) -> None:
        """Claim a turn that waited, and run it."""
        launched = False
        try:
            turn = await self._claimed(queued, stop=stop)
            if turn is not None:
                self._launch(turn)
                launched = True
        except EngineDead as error:
            self._on_engine_dead(str(error))
        finally:
            self._claiming.discard(queued.ref)
            if not launched:
                self._free_slot(queued.ref)

    async def _claimed(self, queued: QueuedTurn, *, stop: bool) -> LeasedTurn | None:
        """The turn under a lease of ours; None where somebody else has it, or it has ended."""
        engine, store = self._resources.engine, self._resources.store
        preparations = self._resources.preparations
        ref, outcome = queued.ref, None
        if queued.seen_lease is not None and not stop:  # before the claim: who hands a turn over writes on meanwhile
            queued, outcome = await with_prompt(engine, store, queued, preparations)
        if queued.is_orphan and not await self._owner_is_still_gone(queued):
            self._presence.forget(ref)
            return None
        claim = await until_answered(lambda: store.claim(ref, queued.seen_lease, self._resources.owner))
        if claim.lease is None or claim.status not in {WriteStatus.OK, WriteStatus.DUPLICATE}:
            self._presence.forget(ref)
            return None
        page = await until_answered(lambda: store.read(ref, -1, WHOLE_LOG))
        if ref in self.running or not page.entries:
            return None
        stop = stop or claim.stop
        outcome = refusal(queued, claim, engine.model.version) or outcome
        if not stop and outcome is None:  # one of the queue: of all who can help, only the one that claimed renders it
            queued, outcome = await with_prompt(engine, store, queued, preparations)
        return LeasedTurn(
            ref,
            queued.spec,
            claim.lease,
            page.entries,
            queued.telemetry
            or self._resources.telemetry.resume(
                ref.id, queued.spec.response["model"], queued.spec.requested_at, queued.spec.traceparent
            ),
            outcome=outcome,
            has_hole=claim.hole,
            origin=readmission(ref, queued.spec, claim.lease, page.entries[0]),
            stop=stop,
        )

    async def _owner_is_still_gone(self, queued: QueuedTurn) -> bool:
        """Whether nobody writes a turn that was found orphaned, maybe minutes ago: its owner may have come back."""
        assert queued.seen_lease is not None
        owner = queued.seen_lease.owner
        is_gone = await until_answered(lambda: self._is_still_gone(owner))
        if not is_gone:
            log.info("turn_left_to_its_owner", response_id=queued.ref.id, owner=owner)
        return is_gone

    def _launch(self, turn: LeasedTurn) -> None:
        """Run in a slot that is taken already."""
        parts = self._resources
        runner = Runner(parts.engine, parts.journal, parts.telemetry, turn)
        self.running[turn.ref] = runner
        parts.tasks.spawn(self._run(runner))
        if self._offers_all:
            parts.tasks.spawn(self._offer(turn.ref, turn.lease))
        self._update_gauges()

    async def _run(self, runner: Runner) -> None:
        began = time.monotonic()
        try:
            await runner.run()
        except EngineDead as error:
            self._on_engine_dead(str(error))
        finally:
            took = time.monotonic() - began
            self._mean_seconds += (took - self._mean_seconds) * (0.1 if self._mean_seconds else 1)
            del self.running[runner.ref]
            self._presence.forget(runner.ref)
            self._free_slot(runner.ref)

    async def _offer(self, ref: TurnRef, lease: Lease) -> None:
        await until_answered(lambda: self._resources.store.offer(ref, lease))

    def _free_slot(self, ref: TurnRef) -> None:
        self.taken_slots -= 1
        self._suspects.discard(ref)
        self._drop_weight(ref)
        self._fill_slots()

    def _drop_weight(self, ref: TurnRef) -> None:
        weight = self._weights.pop(ref, None)
        if weight is not None:
            self.budget.give_back(ref.caller, weight)

    def _update_gauges(self) -> None:
        gauges = self._resources.telemetry.gauges
        gauges.running, gauges.waiting = len(self.running), len(self.queue)
