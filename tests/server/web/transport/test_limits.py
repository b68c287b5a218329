"""How many connections may be unauthenticated, and how often a log line says that there were too many."""

import sys

import pytest

from server.web.transport.limits import ConnectionLimits, ConnectionTable, LogThrottle, Reason, connection_limits

A, B = "192.0.2.0/24", "198.51.100.0/24"


def table(total: int = 4, per_network: int = 2) -> ConnectionTable[str]:
    return ConnectionTable(ConnectionLimits(total=total, per_network=per_network))


class TestLimits:
    """What is left of file descriptors for connections."""

    @pytest.mark.parametrize(
        ("descriptors", "below", "probes", "total", "per_network"),
        [
            (1_048_576, 1_048_064, 1_048_320, 8192, 512),
            (20_000, 19_488, 19_744, 8192, 512),
            (4096, 3584, 3840, 1792, 448),
            (1024, 896, 960, 448, 112),
            (400, 336, 368, 168, 42),
            (100, 50, 75, 25, 6),
            (1, 1, 1, 1, 1),
        ],
    )
    def test_some_stay_free_and_strangers_get_half(
        self, descriptors: int, below: int, probes: int, total: int, per_network: int
    ) -> None:
        limits = connection_limits(8192, 512, descriptors)
        assert (limits.descriptors, limits.probe_descriptors) == (below, probes)
        assert (limits.total, limits.per_network) == (total, per_network)

    def test_settings_lower_them(self) -> None:
        limits = connection_limits(100, 7, 1024)
        assert (limits.total, limits.per_network) == (100, 7)

    def test_no_limit_at_all(self) -> None:
        limits = connection_limits(8192, 512, -1)
        assert (limits.descriptors, limits.total, limits.per_network) == (sys.maxsize, 8192, 512)


class TestTable:
    """Counting in, counting out, and who gives way."""

    def test_a_network_has_its_share(self) -> None:
        connections = table()
        assert [connections.enter(name, A) for name in "abc"] == [None, None, Reason.ADDRESS]
        assert connections.enter("d", B) is None
        connections.leave("a")
        assert connections.enter("c", A) is None

    def test_all_together_have_theirs(self) -> None:
        connections = table()
        assert [connections.enter(name, None) for name in "abcde"] == [None] * 4 + [Reason.TOTAL]
        assert len(connections) == 4

    def test_those_without_a_network_are_counted_only_in_all(self) -> None:
        connections = table(total=100)
        assert {connections.enter(str(n), None) for n in range(100)} == {None}

    def test_entering_again_counts_once(self) -> None:
        connections = table()
        assert [connections.enter("a", A) for _ in range(5)] == [None] * 5
        assert (len(connections), connections.enter("b", A)) == (1, None)

    def test_a_proxy_s_connection_moves_from_client_to_client(self) -> None:
        connections = table()
        for name in "ab":
            connections.enter(name, A)
        connections.enter("proxy", None)
        assert connections.enter("proxy", A) is Reason.ADDRESS
        assert connections.enter("proxy", B) is None
        connections.leave("a")
        assert connections.enter("proxy", A) is None
        assert [connections.enter(name, B) for name in "x"] == [None]

    def test_leaving_twice_counts_once(self) -> None:
        connections = table()
        connections.enter("a", A)
        connections.enter("b", A)
        for _ in range(2):
            connections.leave("a")
        assert [connections.enter(name, A) for name in "cd"] == [None, Reason.ADDRESS]

    def test_a_successor_takes_over_what_was_counted(self) -> None:
        connections = table()
        connections.enter("http", A)
        connections.wait("http", 0)
        connections.replace("http", "socket")
        assert (connections.counts("http"), connections.counts("socket"), len(connections)) == (False, True, 1)
        assert connections.longest_waiting(100) is None
        connections.leave("socket")
        assert len(connections) == 0
        connections.replace("nobody", "else")
        assert len(connections) == 0

    def test_who_has_waited_longest_gives_way_after_a_while(self) -> None:
        connections = table()
        for now, name in enumerate("abc"):
            connections.enter(name, None)
            connections.wait(name, now)
        assert [connections.longest_waiting(now) for now in (0, 0.9, 1)] == [None, None, "a"]
        connections.begin_request("a")
        assert [connections.longest_waiting(now) for now in (1.9, 2)] == [None, "b"]
        connections.wait("b", 3)
        assert connections.longest_waiting(3) == "c"

    def test_one_that_is_not_counted_does_not_wait(self) -> None:
        connections = table()
        connections.wait("a", 0)
        assert connections.longest_waiting(100) is None

    def test_nothing_is_kept_of_those_that_left(self) -> None:
        connections = table(total=1000, per_network=1000)
        for number in range(1000):
            connections.enter(str(number), f"{number}")
            connections.wait(str(number), number)
        for number in range(1000):
            connections.leave(str(number))
        kept = [connections._members, connections._networks, connections._waiting]
        assert kept == [{}, {}, {}]


def test_a_log_line_counts_those_that_were_left_out() -> None:
    throttle = LogThrottle(10)
    assert [throttle.count("a", now) for now in (0, 1, 2, 9.9, 10, 11, 30)] == [1, 0, 0, 0, 4, 0, 2]
    assert [throttle.count("b", now) for now in (0, 1)] == [1, 0]
