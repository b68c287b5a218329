"""One socket's lanes, and what they remember."""

from server.protocol.connection import IN_FLIGHT, NAMED_LANES, WAITING, Cancel, Connection, Find, Send, Start
from server.protocol.errors import WireError, overloaded, previous_not_found
from tests.server.protocol.frames import NEW, OLD, continued, create, lanes_of, only_error, only_start

CANCEL = '{"type":"throughline:cancel","response_id":"resp_1"}'


class TestLanes:
    """First in, first out in a lane; lanes side by side."""

    def test_a_second_frame_waits_for_the_first(self) -> None:
        connection = Connection()
        connection.receive(create(input="one"))
        assert connection.receive(create(input="two")) == []
        assert only_start(connection.ended(None, None)).request.input == "two"

    def test_a_lane_keeps_its_order(self) -> None:
        connection = Connection()
        for text in "abcd":
            connection.receive(create(input=text))
        said = [only_start(connection.ended(None, None)).request.input for _ in range(3)]
        assert said == ["b", "c", "d"]
        assert connection.ended(None, None) == []

    def test_different_lanes_run_at_once(self) -> None:
        connection = Connection()
        started = [only_start(connection.receive(create(stream_id=lane))).lane for lane in (None, "a", "b")]
        assert started == [None, "a", "b"]

    def test_a_failed_frame_makes_way_for_the_next(self) -> None:
        connection = Connection()
        connection.receive(create(input="one"))
        connection.receive(create(input="two"))
        error, start = connection.failed(None, overloaded("No room."))
        assert isinstance(error, Send)
        assert isinstance(start, Start)

    def test_a_failed_frame_echoes_its_lane(self) -> None:
        connection = Connection()
        connection.receive(create(stream_id="a"))
        assert only_error(connection.failed("a", overloaded("No room.")))["stream_id"] == "a"

    def test_sixteen_run_and_the_next_waits(self) -> None:
        connection = Connection()
        lanes = [f"lane{number}" for number in range(IN_FLIGHT + 1)]
        started = [lanes_of(connection.receive(create(stream_id=lane))) for lane in lanes]
        assert started == [[lane] for lane in lanes[:-1]] + [[]]
        assert lanes_of(connection.ended("lane3", None)) == ["lane16"]

    def test_lanes_take_turns_when_all_slots_are_taken(self) -> None:
        connection = Connection()
        for number in range(IN_FLIGHT):
            connection.receive(create(stream_id=f"lane{number}"))
        for lane in ("lane0", "late"):
            connection.receive(create(stream_id=lane))
        assert lanes_of(connection.ended("lane0", None)) == ["late"]

    def test_thirty_two_named_lanes_and_no_more(self) -> None:
        connection = Connection()
        for number in range(NAMED_LANES):
            connection.receive(create(stream_id=f"lane{number}"))
        assert len(connection.lanes) == 1 + NAMED_LANES
        error = only_error(connection.receive(create(stream_id="one-more")))
        assert (error["error"]["code"], error["stream_id"]) == ("websocket_stream_limit_reached", "one-more")
        assert connection.receive(create()) == []  # the default lane is not a named one

    def test_a_frame_too_many_is_told_when_to_come_again(self) -> None:
        connection = Connection()
        for _ in range(WAITING + 1):
            connection.receive(create())
        error = only_error(connection.receive(create()))
        assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")
        assert error["error"]["headers"] == {"retry-after": "1"}

    def test_a_refused_frame_takes_no_lane(self) -> None:
        connection = Connection()
        for _ in range(WAITING + 1):
            connection.receive(create())
        only_error(connection.receive(create(stream_id="late")))
        assert list(connection.lanes) == [None]


class TestMemory:
    """`store: false` chains live on the connection."""

    def test_a_turn_is_continued_from_memory(self) -> None:
        assert continued(Connection(), OLD).remembered == OLD

    def test_what_nobody_remembers_is_left_to_the_store(self) -> None:
        assert only_start(Connection().receive(create(previous_response_id="resp_stored"))).remembered is None

    def test_memory_is_read_when_the_lane_comes_to_the_frame(self) -> None:
        connection = Connection()
        connection.receive(create(store=False))
        connection.receive(create(previous_response_id="resp_old"))
        assert only_start(connection.ended(None, OLD)).remembered == OLD

    def test_a_lane_remembers_only_its_latest(self) -> None:
        connection = Connection()
        continued(connection, OLD)
        connection.ended(None, NEW)
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_a_failed_continuation_evicts_what_it_named(self) -> None:
        connection = Connection()
        continued(connection, OLD)
        connection.failed(None, previous_not_found("resp_old"))
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_a_failed_fork_from_another_lane_does_not(self) -> None:
        connection = Connection()
        continued(connection, OLD)
        fork = only_start(connection.receive(create(stream_id="fork", previous_response_id="resp_old")))
        assert fork.remembered == OLD
        connection.failed("fork", overloaded("No room."))
        connection.failed(None, WireError(400, "x", "something else"))  # this lane's own continuation evicts
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_a_fork_that_failed_leaves_the_memory(self) -> None:
        connection = Connection()
        connection.receive(create(store=False))
        connection.ended(None, OLD)
        connection.receive(create(stream_id="fork", previous_response_id="resp_old"))
        connection.failed("fork", overloaded("No room."))
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered == OLD

    def test_a_failure_that_continued_nothing_leaves_the_memory(self) -> None:
        connection = Connection()
        connection.receive(create(store=False))
        connection.ended(None, OLD)
        connection.receive(create())
        connection.failed(None, overloaded("No room."))
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered == OLD

    def test_a_continuation_that_breaks_a_rule_evicts_too(self) -> None:
        connection = Connection()
        connection.receive(create(store=False))
        connection.ended(None, OLD)
        only_error(connection.receive(create(previous_response_id="resp_old", temperature="hot")))
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_behind_others_a_broken_frame_evicts_nothing(self) -> None:
        connection = Connection()
        connection.receive(create(store=False))
        connection.ended(None, OLD)
        connection.receive(create())
        only_error(connection.receive(create(previous_response_id="resp_old", temperature="hot")))
        assert connection.lanes[None].latest == OLD

    def test_a_stored_turn_takes_the_memory_s_place(self) -> None:
        connection = Connection()
        continued(connection, OLD)
        connection.ended(None, None)
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_a_resumed_turn_enters_the_memory(self) -> None:
        connection = Connection()
        connection.found(Find("resp_old", 3, None), "side")
        connection.ended("side", OLD)
        start = only_start(connection.receive(create(stream_id="side", previous_response_id="resp_old")))
        assert start.remembered == OLD


class TestQuestions:
    """Beside the lanes, and counted all the same."""

    def test_the_sixty_fifth_unanswered_one_is_refused(self) -> None:
        connection = Connection()
        for _ in range(WAITING // 2):
            assert connection.receive(CANCEL) == [Cancel("resp_1")]
            assert connection.resume("resp_1", None, None) == [Find("resp_1", -1, None)]
        for refused in (connection.receive(CANCEL), connection.resume("resp_1", "", "")):
            assert only_error(refused)["error"]["code"] == "rate_limit_exceeded"

    def test_an_answer_makes_room(self) -> None:
        connection = Connection()
        for _ in range(WAITING):
            connection.receive(CANCEL)
        connection.answered()
        assert connection.receive(CANCEL) == [Cancel("resp_1")]

    def test_turns_that_wait_leave_room_for_them(self) -> None:
        connection = Connection()
        for _ in range(WAITING + 1):
            connection.receive(create())
        assert connection.receive(CANCEL) == [Cancel("resp_1")]
