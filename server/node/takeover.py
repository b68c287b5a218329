"""Going on with what another process began or what waited in the store: when that is refused, and with which prompt."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from engine.base import BadRequest, CannotContinue, Engine, Prompt
from engine.offload import offloaded
from server.node.queue import QueuedTurn
from server.protocol.items import to_messages
from server.protocol.status import Status
from server.store.contracts import Store
from server.store.retry import until_answered
from server.store.types import Checkpoint, Lease, LogEntry, NewTurn, TurnRef, WriteResult
from server.turns.history import read_each, read_within
from server.turns.preparation import Preparation, Preparations
from server.turns.runner import TurnOutcome
from server.turns.spec import PromptRef, TurnSpec, digest_of, ids_of, pack

MAX_IDLE_CLAIMS = 3  # from dead owners since the log last grew: so many nodes it may have killed
UNKEPT_ITEM_BYTES = 200  # about, of one item in the record of an unkept turn
MAX_CLAIMS = 20  # from dead owners in all
GONE = "what it goes on from is no longer there"
OTHER_PROMPT = "what it goes on from reads differently now"

log = structlog.get_logger(__name__)


def _failed(why: str) -> TurnOutcome:
    return TurnOutcome(Status.FAILED, error=("cannot_continue", why))


OTHER_VERSION = _failed("The answer was cut and cannot be continued: another model is loaded now.")
POISON = _failed("The answer was given up: every node that wrote it died.")


def refusal(queued: QueuedTurn, claim: WriteResult, model_version: str) -> TurnOutcome | None:
    """How a turn that was claimed ends without being run; None where a node with this model version may run it."""
    if claim.idle_claims >= MAX_IDLE_CLAIMS or claim.claims >= MAX_CLAIMS:
        log.error(
            "turn_failed_owners_died",
            response_id=queued.ref.id,
            claims=claim.claims,
            idle_claims=claim.idle_claims,
        )
        return POISON
    return None if queued.spec.model_version == model_version else OTHER_VERSION


async def with_prompt(
    engine: Engine, store: Store, queued: QueuedTurn, preparations: Preparations
) -> tuple[QueuedTurn, TurnOutcome | None]:
    """The turn with its prompt, rendered again where it was not kept; without one, how it ends. Raises EngineDead."""
    spec = queued.spec
    if spec.prompt is not None or spec.prompt_ref is None or spec.model_version != engine.model.version:
        return queued, None
    try:
        async with preparations.resume(queued.ref.caller) as preparation:
            prompt = await _rendered(engine, store, queued.ref, spec, spec.prompt_ref, preparation)
    except (BadRequest, CannotContinue) as error:
        log.error("prompt_not_restored", response_id=queued.ref.id, error=str(error))
        return queued, _failed(f"The answer was cut and cannot be continued: {error}.")
    return msgspec.structs.replace(queued, spec=msgspec.structs.replace(spec, prompt=prompt, prompt_ref=None)), None


async def _rendered(
    engine: Engine, store: Store, ref: TurnRef, spec: TurnSpec, prompt_ref: PromptRef, preparation: Preparation
) -> Prompt:
    items, size = await _items(store, ref, spec, prompt_ref, preparation)
    messages = await offloaded(size, to_messages, spec.response["instructions"], items[prompt_ref.dropped :])
    prompt = await engine.render(messages, spec.params, ref.caller)
    if digest_of(ids_of(prompt)) != prompt_ref.digest:
        raise CannotContinue(OTHER_PROMPT)
    return prompt


async def _items(
    store: Store, ref: TurnRef, spec: TurnSpec, prompt_ref: PromptRef, preparation: Preparation
) -> tuple[Sequence[dict[str, Any]], int]:
    """All that the turn was asked with, oldest first, and about how many bytes it has."""
    if not spec.keeps:
        size = len(spec.input) * UNKEPT_ITEM_BYTES
        await preparation.enter(size)
        return spec.input, size
    parent = prompt_ref.parent
    past = [] if parent is None else await until_answered(lambda: read_within(store, ref.caller, parent, preparation))
    own = await until_answered(lambda: store.input_items(ref))
    if past is None or own is None:
        raise CannotContinue(GONE)
    raw = [*past, *own]
    size = sum(map(len, raw))
    await preparation.enter(size)
    return await offloaded(size, read_each, raw), size


def readmission(ref: TurnRef, spec: TurnSpec, lease: Lease, first: LogEntry) -> NewTurn | None:
    """What admits a turn again that was taken over, where Redis comes back empty. None: its conversation is gone too.

    What it was asked with is not known here, so its parent is a place that does not exist: a later turn that continues
    this one is told that the history is missing, instead of being given a shorter one.
    """
    if spec.response.get("conversation"):
        return None
    parent = Checkpoint(f"{ref.id}-lost", 0)
    return NewTurn(ref, "", pack(spec), first.entry, first.last_seq, lease, spec.keeps, parent=parent)
