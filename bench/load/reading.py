"""What a server's events mean to a measurement. Pure: one event's JSON in, what was seen out."""

from enum import Enum
from typing import Any

import msgspec


class Sight(Enum):
    """What an event is."""

    TEXT = "text"  # something a reader sees, or would see of reasoning and arguments
    START = "start"
    END = "end"
    ERROR = "error"
    OTHER = "other"


class Seen(msgspec.Struct, frozen=True):
    """One event."""

    sight: Sight
    lane: str | None = None
    text: str = ""
    id: str | None = None  # of the response
    input_tokens: int | None = None
    output_tokens: int | None = None
    reason: str = ""  # of an error, in one word or two


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Error(msgspec.Struct):
    code: Any = None
    type: str | None = None

    @property
    def word(self) -> str:
        return str(self.code or self.type or "unnamed")


class _Response(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class _Event(msgspec.Struct):
    type: str = ""
    stream_id: str | None = None
    delta: Any = None
    response: _Response | None = None
    error: _Error | None = None
    code: Any = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
ENDS = {"response.completed", "response.incomplete"}


def response_event(raw: bytes | str) -> Seen:
    """An event of the Responses protocol, from a socket or the data of an SSE event. Raises msgspec.DecodeError."""
    event = _decode_event(raw)
    if event.type.endswith(".delta"):
        return Seen(Sight.TEXT, event.stream_id, event.delta if isinstance(event.delta, str) else "")
    if event.type in ENDS and event.response is not None:
        return _ended(event, event.response)
    if event.type == "response.created" and event.response is not None:
        return Seen(Sight.START, event.stream_id, id=event.response.id)
    if event.type == "response.failed":
        error = event.response.error if event.response else None
        return Seen(Sight.ERROR, event.stream_id, reason=f"failed {error.word if error else 'unnamed'}")
    if event.type == "error" or (not event.type and event.error):
        word = event.error.word if event.error else str(event.code or "unnamed")
        return Seen(Sight.ERROR, event.stream_id, reason=f"error {word}")
    return Seen(Sight.OTHER, event.stream_id)


def chat_chunk(raw: bytes | str) -> Seen:
    """A chunk of `/v1/chat/completions`; the one that carries the usage is the end. Raises msgspec.DecodeError."""
    chunk = _decode_chunk(raw)
    if chunk.error is not None:
        return Seen(Sight.ERROR, reason=f"error {chunk.error.word}")
    if chunk.usage is not None:
        return Seen(
            Sight.END, id=chunk.id, input_tokens=chunk.usage.prompt_tokens, output_tokens=chunk.usage.completion_tokens
        )
    said = "".join(_said(choice.delta) for choice in chunk.choices)
    return Seen(Sight.TEXT, text=said) if said else Seen(Sight.OTHER, id=chunk.id)


def _said(delta: _Delta) -> str:
    return delta.content or delta.reasoning or delta.reasoning_content or ""


def _ended(event: _Event, response: _Response) -> Seen:
    if response.status == "cancelled":
        return Seen(Sight.ERROR, event.stream_id, reason="cancelled")
    usage = response.usage or _Usage()
    return Seen(Sight.END, event.stream_id, "", response.id, usage.input_tokens, usage.output_tokens)
