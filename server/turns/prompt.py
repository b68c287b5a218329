"""From a request to what an engine can run: history, rendering and checks, before anything is admitted."""

from typing import Any

import msgspec

from engine.base import BadParameter, BadRequest, Engine, EngineError, Params, Prompt, PromptTooLong
from server.protocol import errors
from server.protocol.connection import Remembered
from server.protocol.errors import WireError
from server.protocol.items import named, to_messages
from server.protocol.request import Request
from server.protocol.sampling import params_of
from server.store.contracts import Store
from server.store.types import Checkpoint
from server.turns import history
from server.turns.history import History
from server.turns.spec import PromptRef, digest_of, ids_of

CHAIN = "resp_"  # begins the name of a chain's segment: it is called after the turn that began it


class TurnRequest(msgspec.Struct, frozen=True):
    """A request with everything that came around it."""

    caller: str
    request: Request
    fingerprint: str
    lane: str | None = None
    remembered: Remembered | None = None
    headers: dict[str, str] = {}


class PreparedTurn(msgspec.Struct, frozen=True):
    """A request, rendered and checked, before it is admitted."""

    prompt: Prompt
    params: Params
    history: tuple[dict[str, Any], ...]
    new_items: tuple[dict[str, Any], ...]  # input items of this request
    parent: Checkpoint | None  # where `past` lies; None: only this connection has it, or there is none
    ids: bytes  # of the prompt
    prompt_ref: PromptRef | None  # None: what it was rendered from may change while the turn runs


async def prepare(engine: Engine, store: Store, ask: TurnRequest, id: str) -> PreparedTurn:
    """Prepare what becomes the turn of this id. Raises WireError."""
    past = await history.load(store, ask.caller, ask.request, ask.remembered)
    own = tuple(named(ask.request.items, id.removeprefix("resp_") + "i"))
    prompt, params, dropped = await _fit(engine, ask, [*past.items, *own])
    ids = ids_of(prompt)
    recipe = PromptRef(past.parent, dropped, len(prompt.token_ids), digest_of(ids))
    again = engine.model.renders_alike and _stays(ask.request, past)
    return PreparedTurn(prompt, params, past.items, own, past.parent, ids, recipe if again else None)


def _stays(request: Request, past: History) -> bool:
    """Whether the history cannot change while the turn runs. A conversation is locked by the turns in it alone, and a
    response that was said in it may be continued outside; an unkept turn's record holds all items itself.
    """
    if not request.kept or request.conversation_id is not None:
        return True
    return past.parent is None or past.parent.segment.startswith(CHAIN)


async def _fit(engine: Engine, ask: TurnRequest, items: list[Any]) -> tuple[Prompt, Params, int]:
    """Render; with `truncation: auto` drop the oldest items, and say how many, until the rest fits."""
    every = len(items)
    while True:
        try:
            return *await _render(engine, ask, items), every - len(items)
        except PromptTooLong as error:
            if ask.request.truncation != "auto" or len(items) < 2:
                raise errors.too_long(str(error)) from None
            share = error.limit / error.tokens
            items = items[max(1, int(len(items) * (1 - share))) :]
        except BadRequest as error:
            raise _refusal(error) from None
        except EngineError:
            raise errors.overloaded("The model is not available.", 5) from None


async def _render(engine: Engine, ask: TurnRequest, items: list[Any]) -> tuple[Prompt, Params]:
    params = params_of(ask.request)
    prompt = await engine.render(to_messages(ask.request.instructions, items), params, ask.caller)
    if not prompt.token_ids:
        raise errors.invalid("The input renders to an empty prompt.", "input")
    return prompt, engine.admit(prompt, params)


def _refusal(error: BadRequest) -> WireError:
    if isinstance(error, BadParameter):
        if error.unsupported:
            return errors.unsupported(error.name, error.reason)
        return errors.invalid(f"Invalid '{error.name}': {error.reason}.", error.name, "invalid_value")
    return errors.invalid(str(error), "input")
