"""What the rest of the server needs of a model, and nothing else.

An engine renders chat messages to token ids, says whether it can run them, and streams chunks. Errors:

    EngineError
    ├── BadRequest          the caller asked for what this model cannot do
    │   ├── PromptTooLong   more tokens than the context holds
    │   └── BadParameter    one named parameter is out of its range
    ├── Overloaded          no room now, later perhaps
    ├── CannotContinue      a started answer that no engine can go on with
    └── EngineDead          the engine is gone or frozen; every turn on it needs another one
"""

from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import msgspec


class EngineError(Exception):
    """Anything an engine raises on purpose."""


class BadRequest(EngineError):  # noqa: N818 - named after what it is on the wire
    """The request can never run on this model."""


class PromptTooLong(BadRequest):
    """The prompt leaves no room for an answer. Counts are in tokens."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(tokens, limit)
        self.tokens = tokens
        self.limit = limit

    def __str__(self) -> str:
        return f"the input has {self.tokens} tokens; the model's context of {self.limit} leaves no room for an answer"


class BadParameter(BadRequest):
    """One parameter cannot be honoured; `name` is its name on the wire."""

    def __init__(self, name: str, reason: str, *, unsupported: bool = False) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason
        self.unsupported = unsupported  # this model lacks the feature, as opposed to a value out of range

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Overloaded(EngineError):  # noqa: N818
    """The engine refuses more work for now."""


class CannotContinue(EngineError):  # noqa: N818
    """A grammar, say, cannot be entered in its middle."""


class EngineDead(EngineError):  # noqa: N818
    """The engine's processes ended, or made no progress for too long."""


class Channel(StrEnum):
    """The part of an answer that a delta belongs to."""

    TEXT = "text"
    REASONING = "reasoning"
    TOOL = "tool"


class Finish(StrEnum):
    """Why a generation ended by itself."""

    STOP = "stop"
    LENGTH = "length"


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One token with its natural-log probability."""

    token: str
    logprob: float


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """The sampled token and the likeliest ones in its place."""

    token: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


class ToolCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Opens a function call; its arguments follow as TOOL deltas of the same index."""

    index: int
    id: str
    name: str


class Delta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Text that was settled: never taken back, always whole characters.

    `call` is set on the first TOOL delta of a function call; a TOOL delta without it continues the latest one.
    """

    channel: Channel
    text: str
    call: ToolCall | None = None
    logprobs: tuple[Logprob, ...] = ()


class Chunk(msgspec.Struct, frozen=True):
    """What one engine step gave to one generation.

    `token_ids` are all new ids, those too whose text is still held back (stop strings, half a character).
    `finish` is set on the last chunk and only there. `cached_tokens` counts prompt tokens found in the prefix cache.
    """

    token_ids: tuple[int, ...] = ()
    deltas: tuple[Delta, ...] = ()
    finish: Finish | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0  # of all ids so far, set on the last chunk


class Prompt(msgspec.Struct, frozen=True):
    """A rendered chat: the exact ids that the model reads. `salt` keeps prefix caches of callers apart."""

    token_ids: tuple[int, ...]
    salt: str | None = None


class Format(msgspec.Struct, frozen=True):
    """The shape an answer must have: any JSON object, or one that fits `schema`."""

    type: str  # json_object | json_schema
    schema: dict[str, Any] | None = None


class Params(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to sample. `None` means the model's own default; `max_tokens` is set once `Engine.admit` was passed."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: bool = False  # of the sampled tokens
    top_logprobs: int = 0  # alternatives per position, 0 to 20
    format: Format | None = None
    tools: tuple[dict[str, Any], ...] = ()  # function tools as in a Responses request
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None


class Said(msgspec.Struct, frozen=True):
    """What an answer already contains when another engine goes on with it.

    `token_ids` may run ahead of the texts, which are what viewers were shown.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    reasoning: str = ""
    calls: int = 0  # function calls that were opened
    arguments: str = ""  # of the latest of them


class Model(msgspec.Struct, frozen=True):
    """What a loaded model is and can do."""

    name: str  # as clients name it
    version: str  # equal only where a turn may move between nodes
    context: int  # tokens of prompt and answer together
    slots: int  # generations that run at once
    tools: bool = False
    reasoning: bool = False
    renders_alike: bool = True  # the same messages become the same ids at any time: the template reads no clock


T_contra = TypeVar("T_contra", contravariant=True)


class Sink(Protocol[T_contra]):
    """The fast way beside an iterator: items are pushed where they are made, and no task is woken for them.

    Every stage of a token's way has one with this meaning. Pushed items and those that the iterator yields are one
    sequence: an item is pushed only while the iterator has nothing left to yield.
    """

    def try_push(self, item: T_contra, /) -> bool:
        """Take the item now, or return False, and then the iterator yields it.

        Called synchronously by whoever made the item, in order; it wakes nobody and raises nothing.
        """
        ...


class ChunkSink(Sink[Chunk], Protocol):
    """A sink for the chunks of one generation, which may ask for fewer and larger ones."""

    def merge_until(self) -> float:
        """Event loop time until which what follows may be merged into one chunk; 0.0, or past: do not merge.

        Asked right after a chunk was taken. The last chunk never waits.
        """
        ...


class Engine(Protocol):
    """One loaded model. All methods are called from one event loop."""

    @property
    def model(self) -> Model:
        """Known once `start` has returned."""
        ...

    async def start(self) -> None:
        """Load and warm up. Raises EngineError with a sentence that an operator understands."""
        ...

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        """Apply the chat template to chat messages (role, content, tool_calls). Raises BadRequest."""
        ...

    async def admit(self, prompt: Prompt, params: Params) -> Params:
        """Check everything that could fail later and fill in `max_tokens`. Raises BadRequest.

        It waits for a schema to be compiled away from the event loop, where there is one, and not for long.
        """
        ...

    def generate(
        self, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Stream an answer; `id` must never be used twice.

        With `said`, go on behind it: the chunks hold what follows and never repeat it, `max_tokens` counts it in.
        With `sink`, every chunk but the last may be pushed to it instead of being yielded; see `Sink` for the order.
        Raises EngineDead, CannotContinue, or EngineError when only this generation failed. Closing the iterator
        (or cancelling its consumer) aborts the generation and frees its slot.
        """
        ...

    async def check(self) -> None:
        """Raise EngineDead if the engine can run nothing any more."""
        ...

    async def close(self) -> None:
        """End all processes. May be called twice, and when `start` failed."""
        ...
