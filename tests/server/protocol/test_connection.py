"""One socket's side of the protocol: frames in, commands out."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocol.connection import NAMED_LANES, Cancel, Close, Connection, Find, Follow, Send, Start, position
from server.protocol.errors import overloaded
from server.protocol.request import NOT_OFFERED, Request
from tests.server.protocol import sdk
from tests.server.protocol.frames import OLD, create, only_error, only_start


class TestFrames:
    """One text frame in, commands or one error out."""

    def test_create_starts_a_turn(self) -> None:
        start = only_start(Connection().receive(create()))
        assert (start.lane, start.request.input, start.remembered) == (None, "Hi", None)

    def test_create_on_a_named_lane(self) -> None:
        assert only_start(Connection().receive(create(stream_id="side"))).lane == "side"

    def test_create_without_input_continues_nothing(self) -> None:
        error = only_error(Connection().receive('{"type":"response.create"}'))
        assert (error["error"]["code"], error["error"]["param"]) == ("missing_required_parameter", "input")

    def test_warm_up_needs_no_input(self) -> None:
        start = only_start(Connection().receive('{"type":"response.create","generate":false}'))
        assert not start.request.generates

    def test_cancel(self) -> None:
        frame = '{"type":"throughline:cancel","response_id":"resp_1"}'
        assert Connection().receive(frame) == [Cancel("resp_1")]

    def test_resume_from_a_position(self) -> None:
        frame = '{"type":"throughline:resume","response_id":"resp_1","starting_after":7,"stream_id":"side"}'
        assert Connection().receive(frame) == [Find("resp_1", 7, "side")]

    def test_resume_from_the_beginning(self) -> None:
        assert Connection().receive('{"type":"throughline:resume","response_id":"r"}') == [Find("r", -1, None)]

    def test_a_binary_frame_is_refused(self) -> None:
        assert only_error(Connection().receive_binary())["status"] == 400

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "5", "null", '"text"', "NaN", '{"a":1}{"b":2}', '{"a":"\\ud800"}', "\ud800", "[" * 5000],
    )
    def test_what_is_no_object_is_refused(self, text: str) -> None:
        error = only_error(Connection().receive(text))
        assert (error["status"], error["error"]["type"]) == (400, "invalid_request_error")

    @pytest.mark.parametrize("type", [None, "", "response.created", "session.update", 5, [], {}, "x" * 100_000])
    def test_a_type_that_is_missing_or_unknown_is_refused(self, type: Any) -> None:
        error = only_error(Connection().receive(orjson.dumps({"type": type}).decode()))
        assert error["error"]["param"] == "type"
        assert len(error["error"]["message"]) < 200

    def test_nesting_that_could_not_be_written_again_is_refused(self) -> None:
        frame = '{"type":"response.create","input":"x","mine":' + "[" * 500 + "]" * 500 + "}"
        assert "nests deeper" in only_error(Connection().receive(frame))["error"]["message"]

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"type": "throughline:resume"}, "response_id"),
            ({"type": "throughline:resume", "response_id": 5}, "response_id"),
            ({"type": "throughline:resume", "response_id": "r", "starting_after": "7"}, "starting_after"),
            ({"type": "throughline:resume", "response_id": "r", "starting_after": -1}, "starting_after"),
            ({"type": "throughline:resume", "response_id": "r", "starting_after": 10**15}, "starting_after"),
            ({"type": "throughline:resume", "response_id": "r", "starting_after": True}, "starting_after"),
            ({"type": "throughline:resume", "response_id": "r", "stream_id": 5}, "stream_id"),
            ({"type": "throughline:cancel"}, "response_id"),
            ({"type": "throughline:cancel", "response_id": None}, "response_id"),
            ({"type": "response.steer", "input": "x"}, "previous_response_id"),
            ({"type": "response.steer", "previous_response_id": "r"}, "input"),
            ({"type": "response.steer", "previous_response_id": "r", "input": 5}, "input"),
        ],
    )
    def test_a_wrong_field_of_another_event_is_named(self, fields: dict[str, Any], param: str) -> None:
        assert only_error(Connection().receive(orjson.dumps(fields).decode()))["error"]["param"] == param

    @pytest.mark.parametrize("lane", ["", "a b", "a/b", "ä", "x" * 257, "a\n", 5, ["a"], {}])
    def test_a_lane_name_out_of_its_alphabet_is_refused(self, lane: Any) -> None:
        error = only_error(Connection().receive(create(stream_id=lane)))
        assert error["error"]["code"] == "invalid_stream_id"
        assert "stream_id" not in error

    @pytest.mark.parametrize("lane", ["a", "A-b_c.9", "x" * 256])
    def test_a_lane_name_in_its_alphabet_is_taken(self, lane: str) -> None:
        assert only_start(Connection().receive(create(stream_id=lane))).lane == lane

    def test_an_error_echoes_its_lane(self) -> None:
        assert only_error(Connection().receive(create(stream_id="side", temperature="hot")))["stream_id"] == "side"

    def test_an_error_of_the_default_lane_carries_none(self) -> None:
        assert "stream_id" not in only_error(Connection().receive(create(temperature="hot")))


class TestSteer:
    """Not offered yet, and refused in the SDK's own words."""

    FRAME = '{"type":"response.steer","previous_response_id":"resp_1","input":"and?"}'

    def failed(self, text: str) -> dict[str, Any]:
        [command] = Connection().receive(text)
        assert isinstance(command, Send)
        event: dict[str, Any] = orjson.loads(command.frame)
        sdk.read_event(event)
        return event

    def test_the_input_comes_back(self) -> None:
        event = self.failed(self.FRAME)
        assert event["type"] == "response.steer.failed"
        assert event["steer"] == {"input": "and?", "previous_response_id": "resp_1"}
        assert event["error"]["code"] == "steering_not_supported"

    def test_items_come_back(self) -> None:
        items = [{"type": "message", "role": "user", "content": "and?"}]
        frame = {"type": "response.steer", "previous_response_id": "r", "input": items, "stream_id": "side"}
        event = self.failed(orjson.dumps(frame).decode())
        assert (event["steer"]["input"], event["stream_id"]) == (items, "side")

    def test_it_repeats_the_last_number(self) -> None:
        connection = Connection()
        connection.last_sent = 41
        [command] = connection.receive(self.FRAME)
        assert isinstance(command, Send)
        assert orjson.loads(command.frame)["sequence_number"] == 41


class TestResume:
    """A turn is looked up first, and occupies a lane then."""

    def test_from_the_query_string(self) -> None:
        assert Connection().resume("resp_1", "12", "side") == [Find("resp_1", 12, "side")]

    def test_from_the_query_string_with_empty_values(self) -> None:
        assert Connection().resume("resp_1", "", "") == [Find("resp_1", -1, None)]

    @pytest.mark.parametrize(("after", "number"), [(None, -1), ("", -1), ("0", 0), ("7", 7), ("9" * 15, 10**15 - 1)])
    def test_positions(self, after: str | None, number: int) -> None:
        assert position(after) == number

    @pytest.mark.parametrize("after", ["-1", "1.5", "x", " 7", "+7", "٣", "²", "9" * 16])
    def test_a_position_that_is_no_number_is_refused(self, after: str) -> None:
        error = only_error(Connection().resume("resp_1", after, "side"))
        assert (error["error"]["param"], error["stream_id"]) == ("starting_after", "side")

    def test_a_lane_that_is_no_name_is_refused(self) -> None:
        assert only_error(Connection().resume("resp_1", None, "a b"))["error"]["code"] == "invalid_stream_id"

    def test_it_occupies_the_turn_s_own_lane(self) -> None:
        connection = Connection()
        assert connection.found(Find("resp_1", 7, None), "side") == [Follow("side", "resp_1", 7)]
        assert connection.receive(create(stream_id="side")) == []

    def test_it_occupies_the_lane_that_was_wished_for(self) -> None:
        assert Connection().found(Find("r", 7, "mine"), "side") == [Follow("mine", "r", 7)]

    def test_it_waits_for_its_lane(self) -> None:
        connection = Connection()
        connection.receive(create())
        assert connection.found(Find("r", 7, None), None) == []
        assert connection.ended(None, None) == [Follow(None, "r", 7)]

    def test_a_lane_too_many_is_refused_on_that_lane(self) -> None:
        connection = Connection()
        for number in range(NAMED_LANES):
            connection.receive(create(stream_id=f"lane{number}"))
        error = only_error(connection.found(Find("r", 7, None), "late"))
        assert (error["error"]["code"], error["stream_id"]) == ("websocket_stream_limit_reached", "late")

    def test_a_resume_that_fails_evicts_nothing(self) -> None:
        connection = Connection()
        connection.receive(create(store=False))
        connection.ended(None, OLD)
        connection.found(Find("resp_old", 7, None), None)
        connection.failed(None, overloaded("No room."))
        assert connection.lanes[None].latest == OLD


def test_old_age_is_said_and_closes() -> None:
    send, close = Connection().expire()
    assert isinstance(close, Close)
    assert only_error([send])["error"]["code"] == "websocket_connection_limit_reached"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (*Request.__struct_fields__, *NOT_OFFERED)
PARTS = st.fixed_dictionaries({"type": JSON | st.just("input_text")}, optional={"text": JSON, "refusal": JSON})
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "type": JSON | st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]),
        "role": JSON | st.sampled_from(["user", "assistant", "developer"]),
        "content": JSON | st.lists(PARTS, max_size=2),
        "call_id": JSON,
        "output": JSON,
        "summary": JSON,
    },
)
CHOICES = st.fixed_dictionaries({"type": JSON | st.just("function")}, optional={"name": JSON})
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4) | st.fixed_dictionaries(
    {"input": st.lists(ITEMS, max_size=3)},
    optional={"tools": st.lists(CHOICES | JSON, max_size=2), "tool_choice": CHOICES | JSON},
)


@settings(max_examples=100, deadline=None)
@given(BODIES)
def test_a_request_starts_or_gets_one_named_error(fields: dict[str, Any]) -> None:
    """Whatever comes: never an exception, never silence, never two answers."""
    connection = Connection()
    commands = connection.receive(json.dumps({"type": "response.create", **fields}))
    if not isinstance(commands[0], Start):
        error = only_error(commands)["error"]
        assert error["message"]
        assert error["param"] or "message" in error["message"]
        assert connection.in_flight == connection.waiting == 0
