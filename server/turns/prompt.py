"""From a request to what an engine can run: history, rendering and checks, before anything is admitted."""

from typing import Any

import msgspec

from engine.base import Engine, Params, Prompt, PromptTooLong
from engine.offload import offloaded
from server.protocol import errors
from server.protocol.connection import Remembered
from server.protocol.items import named, to_messages
from server.protocol.request import Request
from server.protocol.sampling import params_of
from server.store.contracts import HistoryStore
from server.turns.history import History, HistoryReader
from server.turns.preparation import Preparation
from server.turns.spec import PromptRef, digest_of, ids_of
from server.turns.truncation import Cuts

TOKEN_BYTES = 40  # of one token of a prompt in memory: a number, and a place in a tuple
SPARSE_CHARACTERS = 32  # of one token, in text that has the longest ones: there is none of which so many fit
CHAIN = "resp_"  # begins the name of a chain's segment: it is called after the turn that began it


class TurnRequest(msgspec.Struct, frozen=True):
    """A request with everything that came around it."""

    caller: str
    request: Request
    fingerprint: str  # digest of the body, compared when an idempotency key returns
    lane: str | None = None
    remembered: Remembered | None = None  # the unkept turn that it continues, which only its connection knows
    traceparent: str = ""  # W3C trace context of the client's own span
    size: int = 0  # bytes of the body
    weight: int = 0  # bytes that it takes in memory, about


class PreparedTurn(msgspec.Struct, frozen=True):
    """A request, rendered and checked, before it is admitted."""

    prompt: Prompt
    params: Params
    history: History
    new_items: tuple[dict[str, Any], ...]  # input items of this request
    prompt_ids: bytes  # as `ids_of` gives them
    prompt_ref: PromptRef | None  # None: what it was rendered from may change while the turn runs
    weight: int = 0  # bytes that its turn takes in memory until it has ended, about

    def whole_prompt(self) -> dict[str, bytes]:
        """The prompt itself as fields of a record, for a store that came back without what it is rendered from."""
        return {"prompt": self.prompt_ids, "salt": (self.prompt.salt or "").encode()}


async def prepare(
    engine: Engine,
    store: HistoryStore,
    request: TurnRequest,
    id: str,
    preparation: Preparation,
    *,
    unlocked: bool = False,
) -> PreparedTurn:
    """Prepare what becomes the turn of this id, in the room that `preparation` gives it.

    Raises WireError, StoreError, EngineError; with `unlocked` Locked where a turn runs in the conversation.
    """
    reader = HistoryReader(store, request.caller, preparation)
    history = await reader.load(request.request, request.remembered, unlocked=unlocked)
    new_items = await offloaded(request.size, _new_items, request.request, id)
    rendering = Rendering(engine, request, [*history.items, *new_items], request.size + history.size)
    prompt, params, dropped = await rendering.fit()
    ids = ids_of(prompt)
    ref = PromptRef(history.parent, dropped, len(prompt.token_ids), digest_of(ids))
    rendered_again = engine.model.renders_alike and _stays(request.request, history)
    weight = request.weight + (0 if request.request.kept else history.size) + TOKEN_BYTES * len(prompt.token_ids)
    if request.request.kept and history.parent is not None:  # the store has the items, and nobody else needs them
        history = History(parent=history.parent, size=history.size)
    return PreparedTurn(prompt, params, history, new_items, ids, ref if rendered_again else None, weight)


def _new_items(request: Request, id: str) -> tuple[dict[str, Any], ...]:
    return tuple(named(request.items, id.removeprefix("resp_") + "i"))


def _stays(request: Request, history: History) -> bool:
    """Whether the history cannot change while the turn runs. A conversation is locked by the turns in it alone, and a
    response that was said in it may be continued outside; an unkept turn's record holds all items itself.
    """
    if not request.kept or request.conversation_id is not None:
        return True
    return history.parent is None or history.parent.segment.startswith(CHAIN)


class Rendering:
    """One request's way to a prompt. `size` is about how many bytes its items have."""

    def __init__(self, engine: Engine, request: TurnRequest, items: list[dict[str, Any]], size: int) -> None:
        self._engine = engine
        self._caller = request.caller
        self._request = request.request
        self._params = params_of(request.request)
        self._items = items
        self._size = size

    async def fit(self) -> tuple[Prompt, Params, int]:
        """Render; with `truncation: auto` leave out the oldest items, and say how many, until the rest fits."""
        may_cut = self._request.truncation == "auto" and len(self._items) > 1
        readable = SPARSE_CHARACTERS * self._engine.model.context
        dropped, cuts = 0, None
        if may_cut and self._size > readable:
            cuts = await self._cuts()
            dropped = cuts.cut_to(readable)
        try:
            return *await self._render(dropped), dropped
        except PromptTooLong as error:
            cuts = cuts or (await self._cuts() if may_cut else None)
            if cuts is None or not cuts.can_cut:
                raise
            return await self._fit_rest(cuts, error)

    async def _cuts(self) -> Cuts:
        return await offloaded(self._size, Cuts, self._items, len(self._request.instructions or ""))

    async def _fit_rest(self, cuts: Cuts, error: PromptTooLong) -> tuple[Prompt, Params, int]:
        while True:
            dropped = cuts.cut(error.tokens, error.limit)
            try:
                return *await self._render(dropped), dropped
            except PromptTooLong as again:
                if not cuts.can_cut:
                    raise
                error = again

    async def _render(self, dropped: int) -> tuple[Prompt, Params]:
        messages = await offloaded(self._size, self._messages, dropped)
        context = self._engine.model.context
        if len(messages) > context:  # no template says nothing at all of a message
            raise PromptTooLong(len(messages), context)
        prompt = await self._engine.render(messages, self._params, self._caller)
        if not prompt.token_ids:
            raise errors.invalid("The input renders to an empty prompt.", "input")
        return prompt, await self._engine.admit(prompt, self._params)

    def _messages(self, dropped: int) -> list[dict[str, Any]]:
        return to_messages(self._request.instructions, self._items[dropped:])
