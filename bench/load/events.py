"""Parses the servers' events as far as a measurement needs them. Pure: one event's JSON in, a ParsedEvent out."""

from enum import Enum
from typing import Any

import msgspec


class EventKind(Enum):
    """What an event means for the turn's timing."""

    TEXT = "text"  # something a reader sees, or would see of reasoning and arguments
    START = "start"
    END = "end"
    ERROR = "error"
    OTHER = "other"


class ParsedEvent(msgspec.Struct, frozen=True):
    """One event, whichever API it came from."""

    kind: EventKind
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


def response_event(raw: bytes | str) -> ParsedEvent:
    """An event of the Responses protocol, from a socket or the data of an SSE event. Raises msgspec.DecodeError."""
    event = _decode_event(raw)
    if event.type.endswith(".delta"):
        return ParsedEvent(EventKind.TEXT, event.stream_id, event.delta if isinstance(event.delta, str) else "")
    if event.type in ENDS and event.response is not None:
        return _ended(event, event.response)
    if event.type == "response.created" and event.response is not None:
        return ParsedEvent(EventKind.START, event.stream_id, id=event.response.id)
    if event.type == "response.failed":
        error = event.response.error if event.response else None
        return ParsedEvent(EventKind.ERROR, event.stream_id, reason=f"failed {error.word if error else 'unnamed'}")
    if event.type == "error" or (not event.type and event.error):
        word = event.error.word if event.error else str(event.code or "unnamed")
        return ParsedEvent(EventKind.ERROR, event.stream_id, reason=f"error {word}")
    return ParsedEvent(EventKind.OTHER, event.stream_id)


def chat_chunk(raw: bytes | str) -> ParsedEvent:
    """A chunk of `/v1/chat/completions`; the one that carries the usage is the end. Raises msgspec.DecodeError."""
    chunk = _decode_chunk(raw)
    if chunk.error is not None:
        return ParsedEvent(EventKind.ERROR, reason=f"error {chunk.error.word}")
    if chunk.usage is not None:
        return ParsedEvent(
            EventKind.END,
            id=chunk.id,
            input_tokens=chunk.usage.prompt_tokens,
            output_tokens=chunk.usage.completion_tokens,
        )
    said = "".join(_said(choice.delta) for choice in chunk.choices)
    return ParsedEvent(EventKind.TEXT, text=said) if said else ParsedEvent(EventKind.OTHER, id=chunk.id)


def _said(delta: _Delta) -> str:
    return delta.content or delta.reasoning or delta.reasoning_content or ""


def _ended(event: _Event, response: _Response) -> ParsedEvent:
    if response.status == "cancelled":
        return ParsedEvent(EventKind.ERROR, event.stream_id, reason="cancelled")
    usage = response.usage or _Usage()
    return ParsedEvent(EventKind.END, event.stream_id, "", response.id, usage.input_tokens, usage.output_tokens)
