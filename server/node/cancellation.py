"""Stopping a turn, wherever it runs."""

import time

import structlog

from server.node.heartbeat import FailureDetector
from server.node.scheduler import Resources, SlotScheduler
from server.store.errors import StoreDown, StoreFull
from server.store.retry import until_answered
from server.store.types import Lease, TurnRef, WriteResult, WriteStatus
from server.turns.presence import Presence

log = structlog.get_logger(__name__)


class Cancellation:
    """Sets a turn's stop flag, and tells whoever runs it.

    Every append, claim and repair answers the flag, so a message that is lost costs time and nothing else.
    """

    def __init__(self, resources: Resources, scheduler: SlotScheduler, detector: FailureDetector) -> None:
        self._resources = resources
        self._scheduler = scheduler
        self._detector = detector

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Ask for a turn's end. The result is FINISHED or LOST where there is nothing to stop.

        Raises StoreError, and then nothing was stopped: a turn that runs here is stopped by this node alone, whether
        the store takes the flag at the moment or not.
        """
        runner = self._scheduler.running.get(ref)
        if runner is not None:
            runner.stop()
        try:
            result = await self._resources.store.cancel(ref)
        except (StoreDown, StoreFull):
            if runner is None:
                raise
            self._resources.tasks.spawn(until_answered(lambda: self._resources.store.cancel(ref)))
            return WriteResult(WriteStatus.OK, lease=runner.lease)
        if result.status is WriteStatus.OK and ref not in self._scheduler.running:
            await self._stop_elsewhere(ref, result.lease)
        return result

    async def _stop_elsewhere(self, ref: TurnRef, lease: Lease | None) -> None:
        """Tell the owner. A turn without a living one is ended here."""
        if self._scheduler.stop_queued(ref):
            return
        if lease is None or self._detector.is_gone(lease.owner, time.monotonic()):
            await self._scheduler.adopt(ref, stop=True)
        elif lease.owner != self._resources.owner:
            await self._resources.store.notify_owner(lease.owner, ref)

    def on_notified(self, ref: TurnRef) -> None:
        """A stop that was asked for on another node arrives: end the turn, if it runs here."""
        self._scheduler.stop_running(ref)

    async def end_unwatched(self, ref: TurnRef, presence: Presence) -> None:
        """Cancel an unkept turn that nobody watches on this node, unless somebody does on another one."""
        turn = await until_answered(lambda: self._resources.store.turn(ref))
        if turn is None or not presence.on_remote_report(ref, turn.viewer_reports):
            log.info("turn_cancelled_no_viewers", response_id=ref.id)
            await until_answered(lambda: self.cancel(ref))
