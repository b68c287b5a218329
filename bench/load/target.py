"""The APIs that can be measured, and their requests. Pure: a turn in, the body of a request out."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bench.load.events import ParsedEvent, chat_chunk, response_event
from bench.load.plan import Ask


class Target(msgspec.Struct, frozen=True):
    """An API: its path and how its requests and events look."""

    path: str
    read: Callable[[bytes | str], ParsedEvent]
    socket: bool = False  # a WebSocket; otherwise SSE
    chained: bool = False  # a conversation goes on by `previous_response_id`; otherwise all messages are sent
    chat: bool = False  # the older API


TARGETS: Mapping[str, Target] = {
    "ws": Target("/v1/responses", response_event, socket=True, chained=True),
    "sse": Target("/v1/responses", response_event, chained=True),
    "responses": Target("/v1/responses", response_event),
    "chat": Target("/v1/chat/completions", chat_chunk, chat=True),
}


class RequestDefaults(msgspec.Struct, frozen=True):
    """What all requests of a run have in common."""

    model: str
    temperature: float | None = 0.0
    force: bool = True  # go on to the wanted length, whatever the model says


class Conversation:
    """The state of a session that the next request needs."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.messages: list[dict[str, str]] = []
        self.id: str | None = None  # of the latest response

    def body(self, ask: Ask, defaults: RequestDefaults) -> dict[str, Any]:
        """The request for the next turn."""
        user = {"role": "user", "content": ask.text}
        whole = {"model": defaults.model, "temperature": defaults.temperature}
        if defaults.force:
            whole["ignore_eos"] = True
        if self.target.chat:
            return whole | _chat([*self.messages, user], ask)
        items = [user] if self.target.chained else [*self.messages, user]
        body = whole | {"input": items, "max_output_tokens": ask.output_tokens}
        if self.target.chained:
            body |= {"previous_response_id": self.id} if self.id else {}
        else:
            body["store"] = False
        return {"type": "response.create", **body} if self.target.socket else body | {"stream": True}

    def said(self, ask: Ask, text: str, id: str | None) -> None:
        """Record a completed turn."""
        self.id = id
        if not self.target.chained:
            self.messages += [{"role": "user", "content": ask.text}, {"role": "assistant", "content": text}]


def _chat(messages: list[dict[str, str]], ask: Ask) -> dict[str, Any]:
    return {
        "messages": messages,
        "max_completion_tokens": ask.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
