"""From the log to the wire, with the SDK's types as judges."""

from itertools import accumulate
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base import Chunk
from server.protocol.entry import TERMINAL, Entry, Event, Kind, Open, decode, encode, opened
from server.protocol.events import NAMES, EventRenderer, lane_end, on_lane
from server.protocol.status import Status
from tests.server.protocol import sdk
from tests.server.protocol.chunks import CHUNKS, EVERYTHING, HI, RESPONSE, arguments, call, flat, text, thought, written

Logged = tuple[int, Entry]  # the number of an entry's last event, and the entry


def entries(appended: list[list[Event]]) -> list[Logged]:
    """What lies in the store: each entry decoded on its own."""
    logged: list[Logged] = []
    open: Open | None = None
    top = -1
    for events in appended:
        top += len(events)
        logged.append((top, decode(encode(open, events))))
        for event in events:
            open = opened(open, event)
    return logged


def rendered(log: list[Logged], after: int = -1, lane: str | None = None) -> list[dict[str, Any]]:
    renderer = EventRenderer(RESPONSE)
    frames = [frame for last_seq, entry in log for frame in renderer.frames(entry, last_seq)]
    if lane is not None:
        frames = on_lane(frames, lane_end(lane))
    events = [orjson.loads(frame) for frame in frames]
    return [event for event in events if event["sequence_number"] > after]


def turn(*chunks: Chunk, status: Status = Status.COMPLETED, lane: str | None = None) -> list[dict[str, Any]]:
    return rendered(entries(written(chunks, status)), lane=lane)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


ENDINGS = [Status.COMPLETED, Status.INCOMPLETE, Status.CANCELLED, Status.FAILED]


class TestOrder:
    """The events of a turn, as the protocol lists them."""

    def test_text(self) -> None:
        assert types(turn(text("Hi", 1), text(" you", 2))) == [
            "created",
            "queued",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]

    def test_reasoning(self) -> None:
        assert types(turn(thought("Hm.", 1)))[3:] == [
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]

    def test_a_call(self) -> None:
        assert types(turn(call(0, "look"), arguments("{}", 1)))[3:] == [
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]

    @pytest.mark.parametrize(
        ("status", "type"),
        [
            (Status.COMPLETED, "completed"),
            (Status.INCOMPLETE, "incomplete"),
            (Status.CANCELLED, "incomplete"),
            (Status.FAILED, "failed"),
        ],
    )
    def test_the_end(self, status: Status, type: str) -> None:
        last = turn(text("Hi", 1), status=status)[-1]
        assert (last["type"], last["response"]["status"]) == (f"response.{type}", status)


class TestContent:
    """What the events say."""

    def test_a_delta(self) -> None:
        assert turn(text("Hi", 1))[5] == {
            "type": "response.output_text.delta",
            "sequence_number": 5,
            "item_id": "msg_abc00",
            "output_index": 0,
            "content_index": 0,
            "delta": "Hi",
            "logprobs": [],
        }

    def test_logprobs_of_a_delta_and_of_the_whole(self) -> None:
        events = turn(text("Hi", 1, logprobs=(HI,)))
        top = [{"token": "Hi", "logprob": -0.5}, {"token": "Ho", "logprob": -1.5}]
        assert events[5]["logprobs"] == [{"token": "Hi", "logprob": -0.5, "top_logprobs": top}]
        assert events[6]["logprobs"] == events[5]["logprobs"]
        assert events[8]["item"]["content"][0]["logprobs"][0]["bytes"] == [72, 105]

    def test_the_whole_text(self) -> None:
        events = turn(text("Hi", 1), text(" you", 2))
        assert events[7]["text"] == events[8]["part"]["text"] == events[9]["item"]["content"][0]["text"] == "Hi you"

    def test_the_whole_arguments(self) -> None:
        events = turn(call(0, "look", '{"a":', 1), arguments("1}", 2))
        assert events[6]["arguments"] == events[7]["item"]["arguments"] == '{"a":1}'

    def test_two_items_closed_in_one_entry_keep_apart(self) -> None:
        log = written([thought("Hm.", 1), call(0, "look", "{}", 2), text("Yes.", 3)])
        events = rendered(entries([flat(log)]))
        done = {event["type"]: event for event in events}
        assert done["response.reasoning_text.done"]["text"] == "Hm."
        assert done["response.function_call_arguments.done"]["arguments"] == "{}"
        assert done["response.output_text.done"]["text"] == "Yes."

    def test_the_status_never_goes_back(self) -> None:
        waited = turn(text("Hi", 1))
        assert [event["response"]["status"] for event in waited[:3]] == ["queued", "queued", "in_progress"]
        at_once = rendered(entries([[Event(Kind.CREATED), Event(Kind.IN_PROGRESS)]]))
        assert [event["response"]["status"] for event in at_once] == ["in_progress", "in_progress"]

    def test_text_that_json_must_escape(self) -> None:
        words = '"\\\n\u2028\x00</script>😀'
        assert turn(text(words, 1))[5]["delta"] == words


class TestNumbers:
    """A view is a position."""

    def test_they_start_at_zero_and_rise_by_one(self) -> None:
        numbers = [event["sequence_number"] for event in turn(*EVERYTHING)]
        assert numbers == list(range(len(numbers)))

    def test_from_every_position_comes_exactly_the_rest(self) -> None:
        log = entries(written(EVERYTHING))
        whole = rendered(log)
        for after in range(-1, len(whole) + 1):
            assert rendered(log, after) == whole[after + 1 :], after

    def test_every_suffix_of_entries_says_the_same(self) -> None:
        """An entry is rendered without the entries before it."""
        log = entries(written(EVERYTHING))
        whole = rendered(log)
        for first in range(len(log)):
            after = log[first - 1][0] if first else -1
            assert rendered(log[first:], after) == whole[after + 1 :], first

    def test_a_hole_moves_the_numbers_on(self) -> None:
        [top, entry] = entries(written([text("Hi", 1)]))[-1]
        [*_, last] = EventRenderer(RESPONSE).frames(entry, top + 1000)
        assert orjson.loads(last)["sequence_number"] == top + 1000


class TestLanes:
    """The lane is echoed by every event, or by none."""

    def test_the_default_lane_is_not_named(self) -> None:
        assert not any("stream_id" in event for event in turn(*EVERYTHING))

    def test_a_named_lane_is(self) -> None:
        events = turn(*EVERYTHING, lane="side.A-1_")
        assert {event.pop("stream_id") for event in events} == {"side.A-1_"}
        assert events == turn(*EVERYTHING)


class TestSdk:
    """The official types read every event, and know every field of it."""

    @pytest.mark.parametrize("status", ENDINGS)
    @pytest.mark.parametrize("lane", [None, "side"])
    def test_everything(self, status: Status, lane: str | None) -> None:
        for event in turn(*EVERYTHING, status=status, lane=lane):
            sdk.read_event(event)

    def test_everything_shows_every_kind(self) -> None:
        shown = {event["type"] for status in ENDINGS for event in turn(*EVERYTHING, status=status)}
        assert shown == set(NAMES.values())

    @settings(max_examples=60, deadline=None)
    @given(CHUNKS, st.sampled_from(ENDINGS), st.data())
    def test_anything(self, chunks: list[Chunk], status: Status, data: st.DataObject) -> None:
        """However the calls to the writer were gathered into entries."""
        log = written(chunks, status)
        sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(log), max_size=len(log)))
        gathered = [flat(log[end - size : end]) for size, end in zip(sizes, accumulate(sizes), strict=True)]
        events = rendered(entries([events for events in gathered if events]))
        assert events == rendered(entries(log))
        for event in events:
            sdk.read_event(event)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))

    def test_the_last_event_is_the_terminal_one(self) -> None:
        for status in ENDINGS:
            log = written(EVERYTHING, status)
            assert [event.kind in TERMINAL for events in log for event in events].index(True) == sum(map(len, log)) - 1


def test_every_kind_has_a_name() -> None:
    assert NAMES.keys() == set(Kind)
