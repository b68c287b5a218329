"""Going on with what another process began or what waited in the store: its prompt, and how it ends without one."""

from typing import Any

import msgspec
import orjson
import structlog

from engine.base import BadRequest, CannotContinue, Engine, Prompt
from server.node.queue import QueuedTurn
from server.protocol.items import to_messages
from server.protocol.status import Status
from server.store.contracts import Store
from server.store.retry import until_answered
from server.store.types import TurnRef, WriteResult
from server.turns.runner import TurnOutcome
from server.turns.spec import PromptRef, TurnSpec, digest_of, ids_of

IDLE_CLAIMS = 3  # from dead owners since the log last grew: so many nodes it may have killed
CLAIMS = 20  # from dead owners in all
GONE = "what it goes on from is no longer there"
OTHER_PROMPT = "what it goes on from reads differently now"

log = structlog.get_logger(__name__)


def _failed(why: str) -> TurnOutcome:
    return TurnOutcome(Status.FAILED, error=("cannot_continue", why))


OTHER_MODEL = _failed("The answer was cut and cannot be continued: another model is loaded now.")
POISON = _failed("The answer was given up: every node that wrote it died.")


def foreseen(place: QueuedTurn, claim: WriteResult, version: str) -> TurnOutcome | None:
    """The end of a turn that a node with this model's version has claimed and need not run."""
    if claim.idle_claims >= IDLE_CLAIMS or claim.claims >= CLAIMS:
        log.error("turn given up", response_id=place.ref.id, claims=claim.claims, idle_claims=claim.idle_claims)
        return POISON
    return None if place.spec.model_version == version else OTHER_MODEL


async def recalled(engine: Engine, store: Store, place: QueuedTurn) -> tuple[QueuedTurn, TurnOutcome | None]:
    """The turn with its prompt, rendered again where it was not kept; without one, how it ends. Raises EngineDead."""
    record = place.spec
    if record.prompt is not None or record.prompt_ref is None or record.model_version != engine.model.version:
        return place, None
    try:
        prompt = await _rendered(engine, store, place.ref, record, record.prompt_ref)
    except (BadRequest, CannotContinue) as error:
        log.error("prompt not found again", response_id=place.ref.id, error=str(error))
        return place, _failed(f"The answer was cut and cannot be continued: {error}.")
    return msgspec.structs.replace(place, spec=msgspec.structs.replace(record, prompt=prompt, prompt_ref=None)), None


async def _rendered(engine: Engine, store: Store, ref: TurnRef, record: TurnSpec, recipe: PromptRef) -> Prompt:
    items = await _items(store, ref, record, recipe)
    messages = to_messages(record.response["instructions"], items[recipe.dropped :])
    prompt = await engine.render(messages, record.params, ref.caller)
    if digest_of(ids_of(prompt)) != recipe.digest:
        raise CannotContinue(OTHER_PROMPT)
    return prompt


async def _items(store: Store, ref: TurnRef, record: TurnSpec, recipe: PromptRef) -> list[dict[str, Any]]:
    """All that the turn was asked with, oldest first."""
    if not record.response["store"]:
        return list(record.input)
    parent = recipe.parent
    past = [] if parent is None else await until_answered(lambda: store.history(ref.caller, parent))
    own = await until_answered(lambda: store.input_items(ref))
    if past is None or own is None:
        raise CannotContinue(GONE)
    return [orjson.loads(item) for item in (*past, *own)]
