"""What a connection keeps for later, and how much of it."""

from server.protocol.budget import ByteBudget, ByteShare
from server.protocol.connection import (
    REMEMBERED_BYTES,
    REREAD_BYTES,
    WAITING_BYTES,
    Connection,
    Remembered,
    Reread,
    Start,
    read_frame,
)
from server.protocol.errors import overloaded
from tests.server.protocol.frames import OLD, create, only_error, only_start

LONG = "x" * (REREAD_BYTES + 1)


def busy(budget: ByteBudget | None = None) -> Connection:
    """A connection whose own lane has a turn."""
    share = None if budget is None else ByteShare(WAITING_BYTES, budget, "alice")
    connection = Connection(share)
    connection.receive(create())
    return connection


class TestWaiting:
    """Messages behind others."""

    def test_a_short_one_starts_as_it_came(self) -> None:
        connection = busy()
        connection.receive(create(input="two", previous_response_id="resp_old"))
        start = only_start(connection.ended(None, OLD))
        assert (start.request.input, start.remembered) == ("two", OLD)

    def test_a_long_one_is_read_again_outside(self) -> None:
        connection = busy()
        text = create(input=LONG, previous_response_id="resp_old")
        assert connection.receive(text) == []
        [command] = connection.ended(None, OLD)
        assert isinstance(command, Reread)
        assert command.text.decode() == text
        start = command.start(read_frame(command.text.decode()))
        assert (start.request.input, start.remembered, start.fingerprint) == (
            LONG,
            OLD,
            only_start(Connection().receive(text)).fingerprint,
        )

    def test_a_long_one_that_fails_is_not_continued_from_memory_again(self) -> None:
        connection = busy()
        connection.receive(create(input=LONG, previous_response_id="resp_old"))
        connection.ended(None, OLD)
        connection.failed(None, overloaded("No room."))
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_one_with_a_fault_is_refused_when_it_comes(self) -> None:
        connection = busy()
        assert only_error(connection.receive(create(input=7)))["error"]["param"] == "input"
        assert connection.waiting == 0

    def test_they_may_hold_so_many_bytes(self) -> None:
        connection = busy()
        text = create(input="x" * (WAITING_BYTES // 4))
        assert [len(connection.receive(text)) for _ in range(3)] == [0, 0, 0]
        error = only_error(connection.receive(text))
        assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")
        assert error["error"]["headers"] == {"retry-after": "1"}
        assert isinstance(connection.ended(None, None)[0], Reread)
        assert connection.receive(text) == []  # there is room again

    def test_a_node_bounds_what_all_its_connections_hold(self) -> None:
        budget = ByteBudget(1000)
        first, second = busy(budget), busy(budget)
        text = create(input="x" * 300)
        assert first.receive(text) == []
        assert only_error(second.receive(text))["error"]["code"] == "rate_limit_exceeded"
        first.close()
        assert second.receive(text) == []

    def test_what_runs_holds_nothing_of_its_message(self) -> None:
        connection = Connection()
        [start] = connection.receive(create(input=LONG))
        assert isinstance(start, Start)
        assert connection.lanes[None].waiting == []
        assert LONG not in repr(connection.lanes[None].running)


class TestRemembered:
    """Unkept turns that only the connection knows."""

    def test_the_oldest_is_forgotten_where_all_take_too_much(self) -> None:
        connection = Connection()
        third = REMEMBERED_BYTES // 3 + 1
        for lane in "abc":
            connection.receive(create(stream_id=lane))
            connection.ended(lane, Remembered(f"resp_{lane}", b"[]" + b" " * third))
        remembered = [
            only_start(connection.receive(create(stream_id=f"{lane}2", previous_response_id=f"resp_{lane}"))).remembered
            for lane in "abc"
        ]
        assert [known and known.id for known in remembered] == [None, "resp_b", "resp_c"]

    def test_what_the_node_has_no_room_for_is_not_remembered(self) -> None:
        budget = ByteBudget(100)
        budget.take("bob", 90)
        connection = Connection(None, ByteShare(REMEMBERED_BYTES, budget, "alice"))
        connection.receive(create())
        connection.ended(None, OLD)
        assert only_start(connection.receive(create(previous_response_id="resp_old"))).remembered is None

    def test_it_is_given_back_at_the_end(self) -> None:
        budget = ByteBudget(1000)
        connection = Connection(None, ByteShare(REMEMBERED_BYTES, budget, "alice"))
        connection.receive(create())
        connection.ended(None, OLD)
        assert budget.held == len(OLD.packed)
        connection.close()
        assert budget.held == 0
