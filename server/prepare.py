"""From a request to what an engine can run: history, rendering and checks, before anything is admitted."""

from typing import Any

import msgspec

from engine.base import BadParameter, BadRequest, Engine, EngineError, Params, Prompt, PromptTooLong
from server import history
from server.protocol import errors
from server.protocol.connection import Remembered
from server.protocol.errors import WireError
from server.protocol.items import named, to_messages
from server.protocol.request import Request
from server.protocol.sampling import params_of
from server.store.base import Checkpoint, Store


class Ask(msgspec.Struct, frozen=True):
    """A request with everything that came around it."""

    caller: str
    request: Request
    fingerprint: str
    lane: str | None = None
    remembered: Remembered | None = None
    headers: dict[str, str] = {}


class Draft(msgspec.Struct, frozen=True):
    """A request, rendered and checked, before it is admitted."""

    prompt: Prompt
    params: Params
    past: tuple[dict[str, Any], ...]
    input: tuple[dict[str, Any], ...]
    parent: Checkpoint | None


async def draft(engine: Engine, store: Store, ask: Ask, id: str) -> Draft:
    """Prepare what becomes the turn of this id. Raises WireError."""
    past = await history.load(store, ask.caller, ask.request, ask.remembered)
    own = tuple(named(ask.request.items, id.removeprefix("resp_") + "i"))
    prompt, params = await _fit(engine, ask, [*past.items, *own])
    if past.parent is None:
        return Draft(prompt, params, (), (*past.items, *own), None)
    return Draft(prompt, params, past.items, own, past.parent)


async def _fit(engine: Engine, ask: Ask, items: list[Any]) -> tuple[Prompt, Params]:
    """Render; with `truncation: auto` drop the oldest items until the rest fits."""
    while True:
        try:
            return await _render(engine, ask, items)
        except PromptTooLong as error:
            if ask.request.truncation != "auto" or len(items) < 2:
                raise errors.too_long(str(error)) from None
            share = error.limit / error.tokens
            items = items[max(1, int(len(items) * (1 - share))) :]
        except BadRequest as error:
            raise _refusal(error) from None
        except EngineError:
            raise errors.overloaded("The model is not available.", 5) from None


async def _render(engine: Engine, ask: Ask, items: list[Any]) -> tuple[Prompt, Params]:
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
