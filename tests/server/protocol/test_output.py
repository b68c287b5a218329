"""An answer, assembled from chunks, and folded again from its log."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base import Channel, Chunk, Delta, Said, ToolCall
from server.protocol.entry import Event, Kind, decode, encode
from server.protocol.output import ResponseBuilder
from server.protocol.status import Status
from tests.server.protocol.chunks import (
    CHUNKS,
    EVERYTHING,
    HI,
    arguments,
    begun,
    call,
    finish,
    flat,
    state,
    text,
    thought,
    written,
)


def kinds(events: list[Event]) -> list[str]:
    return [Kind(event.kind).name for event in events]


def take(*chunks: Chunk) -> tuple[ResponseBuilder, list[Event]]:
    answer, _ = begun()
    return answer, flat(answer.take(chunk) for chunk in chunks)


class TestText:
    """A message item with one part."""

    def test_the_first_words_open_a_message(self) -> None:
        _, events = take(text("Hi", 1))
        assert kinds(events) == ["ITEM_ADDED", "PART_ADDED", "TEXT"]
        assert events[0].data["id"] == "msg_abc00"
        assert events[2] == Event(Kind.TEXT, "Hi", (1,))

    def test_more_words_go_on(self) -> None:
        _, events = take(text("Hi", 1), text(" there", 2))
        assert kinds(events)[3:] == ["TEXT"]

    def test_it_closes_with_all_its_text(self) -> None:
        answer, _ = take(text("Hi", 1), text(" there", 2))
        closing = answer.close(Status.COMPLETED)
        assert kinds(closing) == ["TEXT_DONE", "PART_DONE", "ITEM_DONE"]
        assert (closing[2].data["content"][0]["text"], closing[2].data["status"]) == ("Hi there", "completed")

    @pytest.mark.parametrize("status", [Status.INCOMPLETE, Status.CANCELLED, Status.FAILED])
    def test_what_was_cut_is_incomplete(self, status: Status) -> None:
        answer, _ = take(text("Hi", 1))
        answer.close(status)
        assert answer.items[0]["status"] == "incomplete"

    def test_nothing_said_has_no_items(self) -> None:
        answer, events = take(Chunk((1,)), Chunk((2,)))
        assert (events, answer.close(Status.COMPLETED), answer.items) == ([], [], [])

    def test_an_empty_delta_opens_nothing(self) -> None:
        assert take(text("", 1, logprobs=(HI,)))[1] == []

    def test_an_empty_delta_of_another_kind_closes_nothing(self) -> None:
        answer, _ = take(thought("Hm.", 1), text("", 2, logprobs=(HI,)))
        assert answer.item is not None
        assert answer.item["type"] == "reasoning"

    def test_logprobs_are_kept_with_bytes(self) -> None:
        answer, events = take(text("Hi", 1, logprobs=(HI,)))
        answer.close(Status.COMPLETED)
        top = [
            {"token": "Hi", "bytes": [72, 105], "logprob": -0.5},
            {"token": "Ho", "bytes": [72, 111], "logprob": -1.5},
        ]
        expected = [{"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": top}]
        assert events[2].data == expected
        assert answer.items[0]["content"][0]["logprobs"] == expected


class TestReasoning:
    """A reasoning item in front of its message."""

    def test_text_closes_it(self) -> None:
        answer, events = take(thought("Hm.", 1), text("Yes.", 2))
        assert kinds(events) == [
            "ITEM_ADDED",
            "PART_ADDED",
            "REASONING",
            "REASONING_DONE",
            "PART_DONE",
            "ITEM_DONE",
            "ITEM_ADDED",
            "PART_ADDED",
            "TEXT",
        ]
        assert answer.items == [
            {
                "id": "rs_abc00",
                "type": "reasoning",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm."}],
                "status": "completed",
            }
        ]

    def test_the_message_is_the_second_item(self) -> None:
        answer, _ = take(thought("Hm.", 1), text("Yes.", 2))
        assert answer.open is not None
        assert (answer.open.item_id, answer.open.output_index) == ("msg_abc01", 1)


class TestCalls:
    """Function calls with their arguments."""

    def test_a_call_opens_with_its_name(self) -> None:
        _, events = take(call(0, "look"))
        assert kinds(events) == ["ITEM_ADDED"]
        assert events[0].data == {
            "id": "fc_abc00",
            "type": "function_call",
            "call_id": "call_0",
            "name": "look",
            "arguments": "",
            "status": "in_progress",
        }

    def test_its_arguments_follow(self) -> None:
        answer, events = take(call(0, "look"), arguments('{"at":'), arguments("1}"))
        assert kinds(events) == ["ITEM_ADDED", "ARGUMENTS", "ARGUMENTS"]
        assert kinds(answer.close(Status.COMPLETED)) == ["ARGUMENTS_DONE", "ITEM_DONE"]
        assert answer.items[0]["arguments"] == '{"at":1}'

    def test_a_second_call_closes_the_first(self) -> None:
        answer, _ = take(call(0, "look", "{}"), call(1, "hear", "{}"))
        assert ([item["name"] for item in answer.items], answer.calls) == (["look"], 2)

    def test_arguments_without_a_call_open_one_without_a_name(self) -> None:
        answer, _ = take(arguments("{}"))
        assert answer.item is not None
        assert (answer.item["name"], answer.item["call_id"]) == ("", "call_abc00")


class TestHeldBack:
    """Ids whose text has not come out yet."""

    def test_they_go_with_the_next_event(self) -> None:
        answer, events = take(Chunk((1,)), Chunk((2,)), text("😀", 3))
        assert events[-1].ids == (1, 2, 3)
        assert answer.held == []

    def test_opening_an_item_carries_none(self) -> None:
        _, events = take(text("Hi", 1))
        assert [event.ids for event in events] == [(), (), (1,)]

    def test_only_the_first_of_two_deltas_carries_them(self) -> None:
        chunk = Chunk((1, 2), (Delta(Channel.REASONING, "Hm."), Delta(Channel.TEXT, "Yes.")))
        _, events = take(chunk)
        assert [event.ids for event in events if event.text] == [(1, 2), ()]

    def test_what_is_left_goes_with_the_end(self) -> None:
        answer, _ = take(text("Hi", 1), Chunk((2,)))
        assert finish(answer)[-1].ids == (2,)
        assert answer.token_ids == [1, 2]


class TestSaid:
    """What another engine needs to go on."""

    @pytest.mark.parametrize(
        ("chunks", "said"),
        [
            ([], Said()),
            ([text("Hi", 1)], Said((1,), "Hi")),
            ([text("Hi", 1), text(" you", 2)], Said((1, 2), "Hi you")),
            ([text("Hi", 1), Chunk((2,))], Said((1,), "Hi")),
            ([thought("Hm.", 1)], Said((1,), "", "Hm.")),
            ([thought("Hm.", 1), text("Yes", 2)], Said((1, 2), "Yes", "Hm.")),
            ([call(0, "look", "", 1)], Said((), calls=1)),
            ([call(0, "look", '{"a"', 1)], Said((1,), calls=1, arguments='{"a"')),
            ([call(0, "look", "{}", 1), arguments(" ", 2)], Said((1, 2), calls=1, arguments="{} ")),
            ([call(0, "look", "{1}", 1), call(1, "hear", "{2", 2)], Said((1, 2), calls=2, arguments="{2")),
            ([text("A", 1), call(0, "look", "{}", 2), text("B", 3)], Said((1, 2, 3), "AB", calls=1, arguments="{}")),
        ],
    )
    def test_said(self, chunks: list[Chunk], said: Said) -> None:
        assert take(*chunks)[0].said() == said

    def test_it_is_right_at_every_cut(self) -> None:
        """Counted from the events themselves, the plain way."""
        log = flat(written(EVERYTHING))
        for cut in range(len(log) + 1):
            answer = ResponseBuilder("abc")
            answer.replay(log[:cut])
            assert answer.said() == plainly(log[:cut]), cut


def plainly(log: list[Event]) -> Said:
    """What was said, read off the events without any state but the last call's."""
    texts: dict[int, str] = {Kind.TEXT: "", Kind.REASONING: "", Kind.ARGUMENTS: ""}
    calls = 0
    for event in log:
        if event.kind == Kind.ITEM_ADDED and event.data["type"] == "function_call":
            calls, texts[Kind.ARGUMENTS] = calls + 1, ""
        if event.kind in texts:
            texts[event.kind] += event.text
    ids = tuple(id for event in log for id in event.ids)
    return Said(ids, texts[Kind.TEXT], texts[Kind.REASONING], calls, texts[Kind.ARGUMENTS])


def through_the_store(events: list[Event]) -> list[Event]:
    """The events as another node reads them."""
    return list(decode(encode(None, events)).events)


def check_replay(chunks: list[Chunk], status: Status) -> None:
    """For every cut: the first events folded, and then the rest, make the uncut turn."""
    log = flat(written(chunks, status))
    whole = ResponseBuilder("abc")
    whole.replay(log)
    for cut in range(len(log) + 1):
        again = ResponseBuilder("abc")
        again.replay(through_the_store(log[:cut]))
        assert again.said() == plainly(log[:cut])
        again.replay(through_the_store(log[cut:]))
        assert state(again) == state(whole), cut


def check_takeover(chunks: list[Chunk], status: Status) -> None:
    """For every chunk: a second engine goes on there, and the log is the uncut turn's.

    It says again what nobody has seen: ids that were held back when the first one ended.
    """
    uncut = [plain(event) for event in flat(written(chunks, status))]
    for cut in range(len(chunks) + 1):
        first, log = begun()
        for chunk in chunks[:cut]:
            log += first.take(chunk)
        second = ResponseBuilder("abc")
        second.replay(through_the_store(log))
        log += second.take(Chunk(tuple(first.held)))
        for chunk in chunks[cut:]:
            log += second.take(chunk)
        log += finish(second, status)
        assert [plain(event) for event in log] == uncut, cut


def plain(event: Event) -> Any:
    return msgspec.to_builtins(event)


ENDINGS = st.sampled_from([Status.COMPLETED, Status.INCOMPLETE, Status.CANCELLED, Status.FAILED])


class TestReplay:
    """The law that everything else rests on."""

    def test_the_writer_s_state_is_the_log_s(self) -> None:
        answer, log = begun()
        for chunk in EVERYTHING:
            log += answer.take(chunk)
            again = ResponseBuilder("abc")
            again.replay(log)
            assert state(again) == state(answer)

    @pytest.mark.parametrize("status", [Status.COMPLETED, Status.INCOMPLETE, Status.CANCELLED, Status.FAILED])
    def test_everything_cut_everywhere(self, status: Status) -> None:
        check_replay(list(EVERYTHING), status)
        check_takeover(list(EVERYTHING), status)

    @settings(max_examples=150, deadline=None)
    @given(CHUNKS, ENDINGS)
    def test_anything_cut_everywhere(self, chunks: list[Chunk], status: Status) -> None:
        check_replay(chunks, status)

    @settings(max_examples=100, deadline=None)
    @given(CHUNKS, ENDINGS)
    def test_anything_taken_over_everywhere(self, chunks: list[Chunk], status: Status) -> None:
        check_takeover(chunks, status)

    @settings(max_examples=100, deadline=None)
    @given(CHUNKS)
    def test_no_text_and_no_id_is_lost(self, chunks: list[Chunk]) -> None:
        answer = ResponseBuilder("abc")
        answer.replay(flat(written(chunks)))
        deltas = [delta for chunk in chunks for delta in chunk.deltas]
        assert answer.token_ids == [id for chunk in chunks for id in chunk.token_ids]
        assert answer.said().text == "".join(delta.text for delta in deltas if delta.channel is Channel.TEXT)
        assert answer.said().reasoning == "".join(delta.text for delta in deltas if delta.channel is Channel.REASONING)
        assert [item["id"][-2:] for item in answer.items] == [f"{index:02x}" for index in range(len(answer.items))]


def test_a_call_s_own_id_is_kept() -> None:
    answer, _ = take(Chunk((), (Delta(Channel.TOOL, "{}", ToolCall(0, "chatcmpl-tool-1", "look")),)))
    answer.close(Status.COMPLETED)
    assert answer.items[0]["call_id"] == "chatcmpl-tool-1"
