"""From the log to the wire: one entry in, the events that a viewer has not seen out, as JSON.

Events are built as text around the parts that change, since this runs once per token and viewer.
"""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from server.protocol.log import Entry, Event, Kind, Open, opened

NAMES = {
    Kind.CREATED: "response.created",
    Kind.QUEUED: "response.queued",
    Kind.IN_PROGRESS: "response.in_progress",
    Kind.ITEM_ADDED: "response.output_item.added",
    Kind.PART_ADDED: "response.content_part.added",
    Kind.TEXT: "response.output_text.delta",
    Kind.REASONING: "response.reasoning_text.delta",
    Kind.ARGUMENTS: "response.function_call_arguments.delta",
    Kind.TEXT_DONE: "response.output_text.done",
    Kind.REASONING_DONE: "response.reasoning_text.done",
    Kind.ARGUMENTS_DONE: "response.function_call_arguments.done",
    Kind.PART_DONE: "response.content_part.done",
    Kind.ITEM_DONE: "response.output_item.done",
    Kind.COMPLETED: "response.completed",
    Kind.INCOMPLETE: "response.incomplete",
    Kind.FAILED: "response.failed",
}
LIFECYCLE = frozenset({Kind.CREATED, Kind.QUEUED, Kind.IN_PROGRESS})


class View:
    """Renders one turn for one viewer: a socket's lane, or an SSE stream."""

    def __init__(self, response: dict[str, Any], lane: str | None = None) -> None:
        self.response = response  # as it was created: the lifecycle events repeat it
        self.tail = f',"stream_id":{_json(lane)}}}' if lane is not None else "}"

    def frames(self, entry: Entry, top: int, after: int) -> Iterator[tuple[Kind, str]]:
        """The events numbered above `after` of an entry whose last event is number `top`, with their kinds."""
        number = top - len(entry.events)
        open = entry.open
        for index, event in enumerate(entry.events):
            number += 1
            open = opened(open, event)
            if number > after:
                yield Kind(event.kind), self._frame(event, number, open, entry.events[index:])

    def _frame(self, event: Event, number: int, open: Open | None, rest: tuple[Event, ...]) -> str:
        kind = Kind(event.kind)
        head = f'{{"type":"{NAMES[kind]}","sequence_number":{number}'
        return head + _BODIES[kind](self, event, open, rest) + self.tail

    def _lifecycle(self, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
        status = "queued" if any(each.kind == Kind.QUEUED for each in rest) else "in_progress"
        return f',"response":{_json(self.response | {"status": status})}'

    def _terminal(self, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
        return f',"response":{_json(event.data)}'


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _place(open: Open | None) -> str:
    assert open is not None
    return f',"item_id":"{open.item_id}","output_index":{open.output_index}'


def _part(open: Open | None) -> str:
    return _place(open) + ',"content_index":0'


def _text(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_part(open)},"delta":{_json(event.text)},"logprobs":{_logprobs(event.data)}'


def _logprobs(whole: list[dict[str, Any]] | None) -> str:
    """As events carry them: without `bytes`, which only items have."""
    return _json([_bare(each) | {"top_logprobs": [_bare(top) for top in each["top_logprobs"]]} for each in whole or ()])


def _bare(each: dict[str, Any]) -> dict[str, Any]:
    return {"token": each["token"], "logprob": each["logprob"]}


def _reasoning(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_part(open)},"delta":{_json(event.text)}'


def _arguments(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_place(open)},"delta":{_json(event.text)}'


def _item(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    assert open is not None
    return f',"output_index":{open.output_index},"item":{_json(event.data)}'


def _part_added(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_part(open)},"part":{_json(event.data)}'


def _closing(rest: tuple[Event, ...]) -> dict[str, Any]:
    """The item that closes with these events; the log keeps its text once."""
    item: dict[str, Any] = next(event.data for event in rest if event.kind == Kind.ITEM_DONE)
    return item


def _text_done(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    part = _closing(rest)["content"][0]
    return f'{_part(open)},"text":{_json(part["text"])},"logprobs":{_logprobs(part["logprobs"])}'


def _reasoning_done(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_part(open)},"text":{_json(_closing(rest)["content"][0]["text"])}'


def _arguments_done(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_place(open)},"arguments":{_json(_closing(rest)["arguments"])}'


def _part_done(view: View, event: Event, open: Open | None, rest: tuple[Event, ...]) -> str:
    return f'{_part(open)},"part":{_json(_closing(rest)["content"][0])}'


_Body = Callable[[View, Event, Open | None, tuple[Event, ...]], str]
_BODIES: dict[Kind, _Body] = {
    Kind.CREATED: View._lifecycle,
    Kind.QUEUED: View._lifecycle,
    Kind.IN_PROGRESS: View._lifecycle,
    Kind.ITEM_ADDED: _item,
    Kind.PART_ADDED: _part_added,
    Kind.TEXT: _text,
    Kind.REASONING: _reasoning,
    Kind.ARGUMENTS: _arguments,
    Kind.TEXT_DONE: _text_done,
    Kind.REASONING_DONE: _reasoning_done,
    Kind.ARGUMENTS_DONE: _arguments_done,
    Kind.PART_DONE: _part_done,
    Kind.ITEM_DONE: _item,
    Kind.COMPLETED: View._terminal,
    Kind.INCOMPLETE: View._terminal,
    Kind.FAILED: View._terminal,
}
