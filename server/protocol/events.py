"""From the log to the wire: one entry in, its events out as JSON.

Events are built as bytes around the parts that change, since this runs once per token.
"""

from collections.abc import Callable
from typing import Any

import orjson

from server.protocol.entry import Entry, Event, Kind, Open, opened

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
_HEADS = {kind: f'{{"type":"{name}","sequence_number":%d'.encode() for kind, name in NAMES.items()}


class EventRenderer:
    """Renders one turn for everybody who follows it; `on_lane` makes a frame one socket lane's own."""

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response  # as it was created: the lifecycle events repeat it

    def frames(self, entry: Entry, last_seq: int) -> list[bytes]:
        """All events of an entry whose last event is number `last_seq`, each one JSON object."""
        events = entry.events
        if len(events) == 1:  # a token's, as nearly all
            return [self._frame(events[0], last_seq, opened(entry.open, events[0]), events)]
        open = entry.open
        frames = []
        first = last_seq - len(events) + 1
        for index, event in enumerate(events):
            open = opened(open, event)
            frames.append(self._frame(event, first + index, open, events[index:]))
        return frames

    def _frame(self, event: Event, number: int, open: Open | None, rest: tuple[Event, ...]) -> bytes:
        """`rest` begins with the event itself."""
        return _HEADS[event.kind] % number + _BODIES[event.kind](self, event, open, rest) + b"}"

    def _lifecycle(self, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
        status = "queued" if any(each.kind == Kind.QUEUED for each in rest) else "in_progress"
        return b',"response":' + _json(self.response | {"status": status})

    def _terminal(self, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
        return b',"response":' + _json(event.data)


def lane_end(lane: str) -> bytes:
    """What ends each frame of a named lane, in place of its closing brace."""
    return b',"stream_id":%b}' % _json(lane)


def on_lane(frames: list[bytes], end: bytes) -> list[bytes]:
    """The same events on a named lane, whose `lane_end` is given."""
    return [frame[:-1] + end for frame in frames]


def _json(value: Any) -> bytes:
    return orjson.dumps(value)


def _place(open: Open | None) -> bytes:
    assert open is not None
    return b',"item_id":"%b","output_index":%d' % (open.item_id.encode(), open.output_index)


def _part(open: Open | None) -> bytes:
    return _place(open) + b',"content_index":0'


def _text(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"delta":%b,"logprobs":%b' % (_part(open), orjson.dumps(event.text), _logprobs(event.data))


def _logprobs(whole: list[dict[str, Any]] | None) -> bytes:
    """As events carry them: without `bytes`, which only items have."""
    if not whole:
        return b"[]"
    return _json([_bare(each) | {"top_logprobs": [_bare(top) for top in each["top_logprobs"]]} for each in whole])


def _bare(each: dict[str, Any]) -> dict[str, Any]:
    return {"token": each["token"], "logprob": each["logprob"]}


def _reasoning(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"delta":%b' % (_part(open), _json(event.text))


def _arguments(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"delta":%b' % (_place(open), _json(event.text))


def _item(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    assert open is not None
    return b',"output_index":%d,"item":%b' % (open.output_index, _json(event.data))


def _part_added(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"part":%b' % (_part(open), _json(event.data))


def _closing(rest: tuple[Event, ...]) -> dict[str, Any]:
    """The item that closes with these events; the log keeps its text once."""
    item: dict[str, Any] = next(event.data for event in rest if event.kind == Kind.ITEM_DONE)
    return item


def _text_done(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    part = _closing(rest)["content"][0]
    return b'%b,"text":%b,"logprobs":%b' % (_part(open), _json(part["text"]), _logprobs(part["logprobs"]))


def _reasoning_done(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"text":%b' % (_part(open), _json(_closing(rest)["content"][0]["text"]))


def _arguments_done(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"arguments":%b' % (_place(open), _json(_closing(rest)["arguments"]))


def _part_done(renderer: EventRenderer, event: Event, open: Open | None, rest: tuple[Event, ...]) -> bytes:
    return b'%b,"part":%b' % (_part(open), _json(_closing(rest)["content"][0]))


_Body = Callable[[EventRenderer, Event, Open | None, tuple[Event, ...]], bytes]
_BODIES: dict[Kind, _Body] = {
    Kind.CREATED: EventRenderer._lifecycle,
    Kind.QUEUED: EventRenderer._lifecycle,
    Kind.IN_PROGRESS: EventRenderer._lifecycle,
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
    Kind.COMPLETED: EventRenderer._terminal,
    Kind.INCOMPLETE: EventRenderer._terminal,
    Kind.FAILED: EventRenderer._terminal,
}
