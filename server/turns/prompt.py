"""From a request to what an engine can run: history, rendering and checks, before anything is admitted."""

from typing import Any

import msgspec

from engine.base import Engine, Params, Prompt, PromptTooLong
from server.protocol import errors
from server.protocol.connection import Remembered
from server.protocol.items import named, to_messages
from server.protocol.request import Request
from server.protocol.sampling import params_of
from server.store.contracts import HistoryStore
from server.turns.history import History, load_history
from server.turns.spec import PromptRef, digest_of, ids_of

CHAIN = "resp_"  # begins the name of a chain's segment: it is called after the turn that began it


class TurnRequest(msgspec.Struct, frozen=True):
    """A request with everything that came around it."""

    caller: str
    request: Request
    fingerprint: str  # digest of the body, compared when an idempotency key returns
    lane: str | None = None
    remembered: Remembered | None = None  # the unkept turn that it continues, which only its connection knows
    traceparent: str = ""  # W3C trace context of the client's own span


class PreparedTurn(msgspec.Struct, frozen=True):
    """A request, rendered and checked, before it is admitted."""

    prompt: Prompt
    params: Params
    history: History
    new_items: tuple[dict[str, Any], ...]  # input items of this request
    prompt_ids: bytes  # as `ids_of` gives them
    prompt_ref: PromptRef | None  # None: what it was rendered from may change while the turn runs

    def whole_prompt(self) -> dict[str, bytes]:
        """The prompt itself as fields of a record, for a store that came back without what it is rendered from."""
        return {"prompt": self.prompt_ids, "salt": (self.prompt.salt or "").encode()}


async def prepare(engine: Engine, store: HistoryStore, request: TurnRequest, id: str) -> PreparedTurn:
    """Prepare what becomes the turn of this id. Raises WireError, StoreError, EngineError."""
    history = await load_history(store, request.caller, request.request, request.remembered)
    new_items = tuple(named(request.request.items, id.removeprefix("resp_") + "i"))
    prompt, params, dropped = await _fit(engine, request, [*history.items, *new_items])
    ids = ids_of(prompt)
    ref = PromptRef(history.parent, dropped, len(prompt.token_ids), digest_of(ids))
    rendered_again = engine.model.renders_alike and _stays(request.request, history)
    return PreparedTurn(prompt, params, history, new_items, ids, ref if rendered_again else None)


def _stays(request: Request, history: History) -> bool:
    """Whether the history cannot change while the turn runs. A conversation is locked by the turns in it alone, and a
    response that was said in it may be continued outside; an unkept turn's record holds all items itself.
    """
    if not request.kept or request.conversation_id is not None:
        return True
    return history.parent is None or history.parent.segment.startswith(CHAIN)


async def _fit(engine: Engine, request: TurnRequest, items: list[Any]) -> tuple[Prompt, Params, int]:
    """Render; with `truncation: auto` drop the oldest items, and say how many, until the rest fits."""
    every = len(items)
    while True:
        try:
            return *await _render(engine, request, items), every - len(items)
        except PromptTooLong as error:
            if request.request.truncation != "auto" or len(items) < 2:
                raise
            share = error.limit / error.tokens
            items = items[max(1, int(len(items) * (1 - share))) :]


async def _render(engine: Engine, request: TurnRequest, items: list[Any]) -> tuple[Prompt, Params]:
    params = params_of(request.request)
    prompt = await engine.render(to_messages(request.request.instructions, items), params, request.caller)
    if not prompt.token_ids:
        raise errors.invalid("The input renders to an empty prompt.", "input")
    return prompt, await engine.admit(prompt, params)
