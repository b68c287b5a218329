"""A turn's answer, assembled: chunks of the model in, log events out; and the same events folded again on another node.

`ResponseBuilder` changes only by `apply`, so replaying a log gives the very state that wrote it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from engine.base import Channel, Chunk, Delta, Logprob, Said, ToolCall
from server.protocol.entry import DELTAS, Event, Kind, Open, opened
from server.protocol.status import IllegalMove, Status, move

KINDS = {Channel.TEXT: Kind.TEXT, Channel.REASONING: Kind.REASONING, Channel.TOOL: Kind.ARGUMENTS}
TYPES = {Channel.TEXT: "message", Channel.REASONING: "reasoning", Channel.TOOL: "function_call"}
CLOSED = {"message": Kind.TEXT_DONE, "reasoning": Kind.REASONING_DONE, "function_call": Kind.ARGUMENTS_DONE}
ENDS = {
    Status.COMPLETED: Kind.COMPLETED,
    Status.INCOMPLETE: Kind.INCOMPLETE,
    Status.CANCELLED: Kind.INCOMPLETE,
    Status.FAILED: Kind.FAILED,
}


class ResponseBuilder:
    """Everything a turn has said so far. Item ids are made of `suffix`, so that any node makes the same ones."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix  # of item ids, taken from the response id
        self.status = Status.QUEUED  # IN_PROGRESS from the first lease on
        self.items: list[dict[str, Any]] = []  # finished output items
        self.open: Open | None = None  # the latest item, closed or not: its index numbers the next one
        self.item: dict[str, Any] | None = None  # the open item as it was added, None between items
        self.pieces: list[str] = []  # text of the open item
        self.logprobs: list[Any] = []  # of the open item
        self.token_ids: list[int] = []  # of all events
        self.held: list[int] = []  # ids whose text has not come out yet; they go with the next event
        self.calls = 0  # function calls opened

    # -- deciding ------------------------------------------------------------------------------------------------

    def begin(self) -> list[Event]:
        """Leave the queue: the event that says that the turn has its first lease."""
        return self._emit([Event(Kind.IN_PROGRESS)])

    def take(self, chunk: Chunk) -> list[Event]:
        """The events of one chunk, applied."""
        self.held.extend(chunk.token_ids)
        events: list[Event] = []
        for delta in chunk.deltas:
            events += self._delta(delta)
        return events

    def close(self, status: Status) -> list[Event]:
        """Close what is open; the terminal event comes after it."""
        return self._emit(self._closing("completed" if status is Status.COMPLETED else "incomplete"))

    def end(self, status: Status, response: dict[str, Any]) -> list[Event]:
        """The terminal event, with the token ids that were still held back."""
        ids = tuple(self.held)
        self.held.clear()
        return self._emit([Event(ENDS[status], ids=ids, data=response)])

    def said(self) -> Said:
        """What an engine needs to go on."""
        texts = {"message": "", "reasoning": "", "function_call": ""}
        for item in [*self.items, *([self._whole("")] if self.item else [])]:
            if item["type"] == "function_call":
                texts["function_call"] = item["arguments"]
            else:
                texts[item["type"]] += "".join(part["text"] for part in item["content"])
        return Said(tuple(self.token_ids), texts["message"], texts["reasoning"], self.calls, texts["function_call"])

    def _delta(self, delta: Delta) -> list[Event]:
        events = self._opening(delta)
        if delta.text:
            data = [_logprob(each) for each in delta.logprobs] or None
            events += self._emit([Event(KINDS[delta.channel], delta.text, tuple(self.held), data)])
            self.held.clear()
        return events

    def _opening(self, delta: Delta) -> list[Event]:
        type = TYPES[delta.channel]
        same = self.item is not None and self.item["type"] == type and delta.call is None
        if same or not (delta.text or delta.call):
            return []
        events = self._emit(self._closing("completed"))
        return events + self._emit(self._added(type, delta.call))

    def _added(self, type: str, call: ToolCall | None) -> list[Event]:
        index = 0 if self.open is None else self.open.output_index + 1
        if type == "function_call":
            return [Event(Kind.ITEM_ADDED, data=self._call(index, call))]
        if type == "reasoning":
            item = {
                "id": f"rs_{self.suffix}{index:02x}",
                "type": type,
                "summary": [],
                "content": [],
                "status": "in_progress",
            }
            return [
                Event(Kind.ITEM_ADDED, data=item),
                Event(Kind.PART_ADDED, data={"type": "reasoning_text", "text": ""}),
            ]
        item = {
            "id": f"msg_{self.suffix}{index:02x}",
            "type": type,
            "role": "assistant",
            "content": [],
            "status": "in_progress",
        }
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        return [Event(Kind.ITEM_ADDED, data=item), Event(Kind.PART_ADDED, data=part)]

    def _call(self, index: int, call: ToolCall | None) -> dict[str, Any]:
        call = call or ToolCall(self.calls, f"call_{self.suffix}{index:02x}", "")
        return {
            "id": f"fc_{self.suffix}{index:02x}",
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": "",
            "status": "in_progress",
        }

    def _closing(self, status: str) -> list[Event]:
        if self.item is None:
            return []
        done = [Event(CLOSED[self.item["type"]])]
        if self.item["type"] != "function_call":
            done.append(Event(Kind.PART_DONE))
        return [*done, Event(Kind.ITEM_DONE, data=self._whole(status))]

    def _whole(self, status: str) -> dict[str, Any]:
        """The open item with all its text."""
        assert self.item is not None
        text = "".join(self.pieces)
        if self.item["type"] == "function_call":
            return {**self.item, "arguments": text, "status": status}
        if self.item["type"] == "reasoning":
            return {**self.item, "content": [{"type": "reasoning_text", "text": text}], "status": status}
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs}
        return {**self.item, "content": [part], "status": status}

    # -- changing ------------------------------------------------------------------------------------------------

    def replay(self, events: Iterable[Event]) -> None:
        """Fold a log, or the next part of it."""
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """The one place where an answer changes. Raises IllegalMove, and changes nothing then."""
        if event.kind in DELTAS and self.status is Status.IN_PROGRESS:  # nearly all events
            self.token_ids.extend(event.ids)
            self.pieces.append(event.text)
            self.logprobs += event.data or ()
            return
        self.status = self._moved(event)
        self.open = opened(self.open, event)
        self.token_ids.extend(event.ids)
        if event.kind == Kind.ITEM_ADDED:
            self.item, self.pieces, self.logprobs = event.data, [], []
            self.calls += event.data["type"] == "function_call"
        elif event.kind == Kind.ITEM_DONE:
            self.items.append(event.data)
            self.item = None

    def _moved(self, event: Event) -> Status:
        if event.kind in _FINAL:
            return move(self.status, Status(event.data["status"]))
        if event.kind == Kind.IN_PROGRESS:
            return move(self.status, Status.IN_PROGRESS)
        at = Status.QUEUED if event.kind in _BEFORE else Status.IN_PROGRESS
        if self.status is not at:
            raise IllegalMove(f"{event.kind.name} in a turn that is {self.status}")
        return at

    def _emit(self, events: Sequence[Event]) -> list[Event]:
        self.replay(events)
        return list(events)


_BEFORE = frozenset({Kind.CREATED, Kind.QUEUED})
_FINAL = frozenset(ENDS.values())


def _logprob(each: Logprob) -> dict[str, Any]:
    top = [{"token": t.token, "bytes": list(t.token.encode()), "logprob": t.logprob} for t in each.top]
    return {"token": each.token, "bytes": list(each.token.encode()), "logprob": each.logprob, "top_logprobs": top}
