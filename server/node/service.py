"""What clients ask of a node, whatever transport they come by: create a turn, follow it, read it, stop it, forget it.

A transport turns its own words into these calls, and what they raise into its own answers (`errors.wire_error`).
"""

import asyncio
import secrets
import time
from typing import Any

import orjson
import structlog

from engine.base import EngineError
from engine.offload import offloaded
from server.log.subscriber import LogSubscriber
from server.node.admission import Admitted
from server.node.errors import is_fault, wire_error
from server.node.node import Node, NodeState
from server.protocol import errors
from server.protocol.connection import Remembered
from server.protocol.errors import WireError
from server.protocol.extensions import Notice, Queued, Waiting
from server.protocol.request import Request
from server.protocol.status import FINAL
from server.store.contracts import Store
from server.store.errors import PositionLost, StoreError
from server.store.retry import RETRY_SECONDS
from server.store.types import Turn, TurnRef, WriteResult, WriteStatus
from server.turns.prompt import TurnRequest, prepare
from server.turns.spec import TurnSpec, unpack
from server.turns.subscription import RenderedTurns, TurnSubscription

RETURN_SECONDS = 2.0  # for an owner to give its turn back to an empty Redis
ITEM_BYTES = 200  # of an item, about
CANCEL_SECONDS = 5.0  # that a caller waits for the end of a turn that it stopped

log = structlog.get_logger(__name__)


class TurnService:
    """The turns of all callers, as this node can show them."""

    def __init__(self, node: Node, store: Store, subscriber: LogSubscriber) -> None:
        self._node = node
        self._store = store
        self._subscriber = subscriber
        self._rendered = RenderedTurns()

    # -- turns ---------------------------------------------------------------------------------------------------

    async def create(self, request: TurnRequest) -> Admitted:
        """Prepare and admit a turn. Raises WireError; nothing was accepted then.

        Cancelling it during admission leaves a turn that runs like any other: it cannot be known whether it was one.
        """
        before = await self._node.admission.find_idempotent(request)
        if before is not None:
            return await self._node.admission.existing(before)
        self._check_ready(request.request)
        id = f"resp_{secrets.token_hex(12)}"
        node = self._node
        telemetry = node.telemetry.begin(id, node.engine.model.name, time.time(), {"traceparent": request.traceparent})
        try:
            return await node.admission.admit(request, id, telemetry)
        except (WireError, StoreError, EngineError) as error:
            refusal = wire_error(error)
            node.telemetry.refused(telemetry, refusal.code)
            if is_fault(error):
                log.warning("turn_not_admitted", response_id=id, error=str(error))
            raise refusal from error

    async def count_tokens(self, request: TurnRequest) -> int:
        """Input tokens of a request that is not run. Raises WireError, StoreError, EngineError."""
        self._check_ready(request.request)
        preparations = self._node.resources.preparations
        async with preparations.begin(request.caller, request.size, request.weight) as preparation:
            prepared = await prepare(self._node.engine, self._store, request, "resp_count", preparation)
            return len(prepared.prompt.token_ids)

    async def cancel(self, ref: TurnRef) -> WriteResult:
        """Ask for a turn's end, wherever it runs. Raises StoreError."""
        return await self._node.cancellation.cancel(ref)

    async def stop(self, ref: TurnRef) -> None:
        """Cancel a turn, and wait for its end for a while. Raises StoreError."""
        if (await self.cancel(ref)).status is WriteStatus.OK:
            await self._wait_for_end(ref)

    async def delete(self, ref: TurnRef) -> None:
        """Forget a response; one that runs is stopped first. Raises WireError 404, StoreError."""
        await self.stop(ref)
        if not await self._store.delete(ref):
            raise errors.not_found("response", ref.id)

    # -- following -----------------------------------------------------------------------------------------------

    def subscribe(self, ref: TurnRef, spec: TurnSpec, after: int, lane: str | None = None) -> TurnSubscription:
        """Follow a turn from behind the event of number `after`; -1: from its first."""
        rendered = self._rendered.of(ref, spec)
        return TurnSubscription(self._subscriber, self._node.presence, rendered, ref, spec, after, lane)

    async def find_turn(self, ref: TurnRef, after: int) -> Turn:
        """A turn whose events are kept. Raises WireError with the stored response where that is all there is."""
        turn = await self._turn(ref, after)
        if turn is None:
            raise await self._log_gone(ref, "This response's events are no longer kept.")
        return turn

    async def replay(self, ref: TurnRef, after: int) -> TurnSubscription:
        """Follow a turn of which event `after` was seen: it must be in the log, or still come. Raises WireError."""
        turn = await self._turn(ref, after)
        if turn is None or (turn.last_seq < after and turn.status in FINAL):
            raise await self._log_gone(ref, "This position is not in the log.")
        return self.subscribe(ref, unpack(turn.record), after)

    async def position_lost(self, ref: TurnRef, error: PositionLost) -> WireError:
        """What a reader is told where nothing is sure to follow its position; with the stored response, if any."""
        return errors.position_lost(f"{error}.", await self.finished_response(ref))

    def whereabouts(self, subscription: TurnSubscription) -> Notice:
        """What somebody who sees nothing is told: the turn's place in the queue, or what it waits for."""
        ref, seq = subscription.ref, max(subscription.last_seq, 0)
        queued = self._node.scheduler.queue_position(ref)
        if queued is not None:
            return Queued(seq, ref.id, *queued)
        if self._node.journal.stalled:
            return Waiting(seq, ref.id, "log")
        is_elsewhere = subscription.has_begun and ref not in self._node.scheduler.running
        return Waiting(seq, ref.id, "takeover" if is_elsewhere else "prefill")

    # -- reading -------------------------------------------------------------------------------------------------

    async def status(self, ref: TurnRef) -> str:
        """Of a turn that was just admitted."""
        turn = await self._store.turn(ref)
        return turn.status if turn is not None else "in_progress"

    async def response(self, ref: TurnRef) -> bytes:
        """A response as it is now, as JSON. Raises WireError 404, StoreError."""
        turn = await self._store.turn(ref)
        stored = await self._store.response(ref)
        if stored is not None:
            return stored.response
        if turn is None:
            raise errors.not_found("response", ref.id)
        return orjson.dumps(unpack(turn.record).response | {"status": turn.status})

    async def finished_response(self, ref: TurnRef) -> dict[str, Any] | None:
        """A response that has ended; None where there is none."""
        stored = await self._store.response(ref)
        response: dict[str, Any] | None = None if stored is None else orjson.loads(stored.response)
        return response

    async def wait_for_response(self, subscription: TurnSubscription) -> dict[str, Any]:
        """The finished response, once it is. Raises WireError 404 where it was deleted meanwhile, StoreError."""
        try:
            response = await subscription.end()
        except PositionLost:
            response = None
        response = response or await self.finished_response(subscription.ref)
        if response is None:
            raise errors.not_found("response", subscription.ref.id)
        return response

    async def remembered(self, subscription: TurnSubscription) -> Remembered | None:
        """What a connection must remember of a turn that was shown to its end, since nothing else keeps it."""
        spec = subscription.spec
        if spec.keeps:
            return None
        response = subscription.response or await self.finished_response(subscription.ref)
        if response is None:
            return None
        return await offloaded(len(spec.input) * ITEM_BYTES, spec.remembered, response["output"])

    async def input_items(self, ref: TurnRef) -> list[bytes]:
        """What a turn was asked with, oldest first, as JSON. Raises WireError 404, StoreError."""
        items = await self._store.input_items(ref)
        if items is None:
            raise errors.not_found("response", ref.id)
        return items

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_ready(self, request: Request) -> None:
        state = self._node.state
        if state is NodeState.LOADING:
            raise errors.loading(2)
        if state is not NodeState.READY:
            draining = state is NodeState.DRAINING
            raise errors.overloaded("This node is stopping." if draining else "The model is not available.", 1)
        name = self._node.engine.model.name
        if request.model not in {None, name}:
            raise errors.unknown_model(str(request.model), name)

    async def _turn(self, ref: TurnRef, after: int) -> Turn | None:
        """A turn by its id. One of which somebody has seen events is looked for again for a while: where Redis came
        back empty, its owner is giving it back."""
        turn = await self._store.turn(ref)
        until = time.monotonic() + RETURN_SECONDS
        while turn is None and after >= 0 and time.monotonic() < until and await self._store.response(ref) is None:
            await asyncio.sleep(RETRY_SECONDS)
            turn = await self._store.turn(ref)
        return turn

    async def _log_gone(self, ref: TurnRef, message: str) -> WireError:
        """Events that were asked for are not there: the response may be."""
        response = await self.finished_response(ref)
        return errors.not_found("response", ref.id) if response is None else errors.position_lost(message, response)

    async def _wait_for_end(self, ref: TurnRef) -> None:
        turn = await self._store.turn(ref)
        if turn is None:
            return
        subscription = self.subscribe(ref, unpack(turn.record), turn.last_seq)
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await subscription.end()
        except (TimeoutError, PositionLost):
            return
