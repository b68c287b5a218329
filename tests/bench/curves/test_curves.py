"""Costs of a turn, from counters."""

import xml.etree.ElementTree as ET

import pytest

from bench.curves.__main__ import pictures
from bench.curves.streams import AtOnce
from bench.curves.turns import Reading, Turns, cost, edges, mean_reading, parse_info
from bench.load.charts import standalone


def test_the_cost_of_an_idle_node_is_subtracted() -> None:
    idle = (Reading(0.0, 0, 0, 0.0), Reading(2.0, 20, 200, 0.02))
    between = (Reading(5.0, 100, 1000, 1.0), Reading(6.0, 150, 5100, 1.05))
    found = cost(11, 20, between, idle, turns=10)
    assert (found.calls, found.bytes, found.ms) == pytest.approx((4.0, 400.0, 100.0))
    assert found.cpu_us == pytest.approx(4000)


def test_a_negative_cost_is_reported_as_it_is() -> None:
    idle = (Reading(0.0, 0, 0, 0.0), Reading(2.0, 20, 200, 0.02))
    assert cost(2, 2, (Reading(5.0, 0, 0, 0.0), Reading(6.0, 5, 0, 0.0)), idle, turns=1).calls == pytest.approx(-5.0)


def test_the_first_turn_is_measured_separately() -> None:
    assert edges(25, 10) == [0, 1, 10, 20, 25]


def test_a_first_turn_has_no_history_to_read() -> None:
    assert mean_reading(0, 1, (0.0, 80.0)) == 0.0


def test_the_cost_of_reading_history_is_interpolated_between_readings() -> None:
    """After 10 turns a history costs 100, after 20 it costs 200: turns 11 to 20 read 100, 110, ... 190."""
    assert mean_reading(10, 20, (100.0, 200.0)) == pytest.approx(145.0)


def test_redis_info_is_parsed_into_fields() -> None:
    assert parse_info("# Server\r\nprocess_id:12\r\n")["process_id"] == "12"


def test_charts_can_stand_alone_as_svg_files() -> None:
    streams = [AtOnce(count, 50.0, 5.0, 1 << 26, 100.0, 0) for count in (1, 10, 100)]
    drawn = dict(pictures(streams, [Turns(1, 1, 5.0, 900.0, 3000.0, 4.0)]))
    assert len(drawn) == 6
    for picture in drawn.values():
        assert ET.fromstring(standalone(picture)).tag == "{http://www.w3.org/2000/svg}svg"
