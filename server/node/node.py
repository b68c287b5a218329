"""One node's life: loading, ready, draining, failed, stopped."""

import asyncio
import secrets
import time
from enum import StrEnum

import msgspec
import structlog

from engine.base import Engine
from server.background import BackgroundTasks, Supervisor
from server.log.journal import Journal
from server.node.admission import Admission
from server.node.cancellation import Cancellation
from server.node.heartbeat import FailureDetector, HeartbeatCallbacks, HeartbeatConfig, Heartbeater, NodeInfo
from server.node.scheduler import Resources, SlotScheduler
from server.protocol.errors import WireError
from server.store.contracts import Store
from server.store.errors import StoreError
from server.store.types import TurnRef
from server.telemetry.instruments import Telemetry
from server.turns.preparation import PREPARING_BYTES, Preparations
from server.turns.presence import Presence

CLOSING_SECONDS = 2.0  # that turns which are being ended get when the node closes

log = structlog.get_logger(__name__)


class NodeState(StrEnum):
    """What a node says of itself, to probes and to other nodes."""

    LOADING = "loading"  # the engine is not there yet
    READY = "ready"
    DRAINING = "draining"  # takes nothing new, and hands over or finishes what runs
    FAILED = "failed"  # the engine did not start, or ended
    STOPPED = "stopped"


NEXT: dict[NodeState, frozenset[NodeState]] = {
    NodeState.LOADING: frozenset({NodeState.READY, NodeState.DRAINING, NodeState.FAILED, NodeState.STOPPED}),
    NodeState.READY: frozenset({NodeState.DRAINING, NodeState.FAILED, NodeState.STOPPED}),
    NodeState.DRAINING: frozenset({NodeState.FAILED, NodeState.STOPPED}),
    NodeState.FAILED: frozenset({NodeState.STOPPED}),
    NodeState.STOPPED: frozenset(),
}


class NodeConfig(msgspec.Struct, frozen=True):
    """What a node is told when it is made. Times are in seconds."""

    name: str  # of the model, as clients know it
    max_queue: int = 256  # turns that may wait for a slot
    turn_bytes: int = 512 * 1024 * 1024  # that turns may take which run or wait, about
    preparing_bytes: int = PREPARING_BYTES  # that requests may take which are not admitted yet, about
    unwatched_seconds: float = 30.0  # until an unkept turn that nobody watches is cancelled
    admit_seconds: float = 5.0  # for which an admission is repeated while the store does not answer
    exclusive: bool = False  # nobody else uses this store
    heartbeat: HeartbeatConfig = HeartbeatConfig()


class Node:
    """Puts the parts of a node together and moves them through its life. What clients ask for is in `service`."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        journal: Journal,
        telemetry: Telemetry,
        config: NodeConfig,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.config = config
        self.created = int(time.time())
        self.engine = engine
        self.telemetry = telemetry
        self.journal = journal
        self.owner = secrets.token_hex(8)  # this process start, in leases and in the registry
        self.tasks = BackgroundTasks(WireError, StoreError)
        self.supervisor = supervisor or Supervisor(on_failure=telemetry.task_failed)  # of the loops that never end
        self.state = NodeState.LOADING
        self.error = ""  # why the state is FAILED
        self.failed = asyncio.Event()
        self.cluster_changed = asyncio.Event()  # time to look for turns that nobody runs
        self._loading_since = time.monotonic()
        self._load_seconds = 0.0  # once ready
        preparations = Preparations(config.preparing_bytes)
        resources = Resources(engine, store, journal, telemetry, self.tasks, preparations, self.owner)
        self.presence = Presence(config.unwatched_seconds, self._on_unwatched)
        self.scheduler = SlotScheduler(
            resources,
            self.presence,
            max_queue=config.max_queue,
            turn_bytes=config.turn_bytes,
            on_engine_dead=self.fail,
            is_still_gone=lambda owner: self.heartbeater.is_still_gone(owner),
        )
        self.admission = Admission(resources, self.scheduler, patience=config.admit_seconds)
        self.detector = FailureDetector(self.owner, config.heartbeat, exclusive=config.exclusive)
        self.cancellation = Cancellation(resources, self.scheduler, self.detector)
        unreadable = telemetry.unreadable
        self.heartbeater = Heartbeater(store, self.detector, self.info, self._callbacks(), unreadable=unreadable)
        self.resources = resources

    def _callbacks(self) -> HeartbeatCallbacks:
        return HeartbeatCallbacks(
            changed=self.cluster_changed.set,
            notified=self.cancellation.on_notified,
            store_lost=self.journal.on_store_lost,
            store_back=self.journal.on_store_back,
        )

    @property
    def load_seconds(self) -> float:
        """How long loading took, or has taken so far."""
        return self._load_seconds or time.monotonic() - self._loading_since

    def info(self) -> NodeInfo:
        """What the other nodes are told."""
        if self.state not in {NodeState.READY, NodeState.DRAINING}:
            return NodeInfo(self.state)
        return NodeInfo(self.state, self.engine.model.version, self.scheduler.free_slots)

    # -- life ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the engine; the sockets are open meanwhile and say so. Raises EngineError."""
        await self.engine.start()
        self._load_seconds = time.monotonic() - self._loading_since
        if self._move(NodeState.READY):
            self.scheduler.open()
        model = self.engine.model
        log.info("ready", model=model.name, seconds=round(self._load_seconds, 1), slots=model.slots)

    def begin_drain(self) -> None:
        """Take nothing new. What runs goes on; `drain` hands it over."""
        if self._move(NodeState.DRAINING):
            self.scheduler.close()

    def fail(self, reason: str) -> None:
        """The engine did not start, or ended. Others take what it ran, as from a node that died."""
        if self._fail(reason):
            log.error("engine_failed", reason=reason)

    def fail_store(self, reason: str) -> None:
        """Our own Redis ended and cannot be started again: there is nothing left to write to."""
        if self._fail(reason):
            log.error("redis_failed", reason=reason)

    def _fail(self, reason: str) -> bool:
        if not self._move(NodeState.FAILED):
            return False
        self.scheduler.close()
        self.error = reason
        self.failed.set()
        self.tasks.spawn(self.heartbeater.beat())
        return True

    async def close(self) -> None:
        """Stop running; what is unfinished stays in the log for whoever comes next. May be called twice."""
        self._move(NodeState.STOPPED)
        self.scheduler.close()
        self.presence.close()
        await self.tasks.end(CLOSING_SECONDS)
        await self.heartbeater.beat()

    def _move(self, then: NodeState) -> bool:
        """Change the state; False, and nothing is changed, where `NEXT` has no such move."""
        if then not in NEXT[self.state]:
            return False
        self.state = then
        return True

    def _on_unwatched(self, ref: TurnRef) -> None:
        self.tasks.spawn(self.cancellation.end_unwatched(ref, self.presence))
