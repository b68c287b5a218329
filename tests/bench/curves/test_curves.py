"""Costs of a turn, from counters."""

import xml.etree.ElementTree as ET

import pytest

from bench.curves.__main__ import pictures
from bench.curves.streams import AtOnce
from bench.curves.turns import Reading, Turns, cost, edges, parse, within
from bench.load.charts import standalone


def test_what_an_idle_node_does_is_taken_off() -> None:
    idle = (Reading(0.0, 0, 0, 0.0), Reading(2.0, 20, 200, 0.02))
    between = (Reading(5.0, 100, 1000, 1.0), Reading(6.0, 150, 5100, 1.05))
    found = cost(11, 20, between, idle, turns=10)
    assert (found.calls, found.bytes, found.ms) == pytest.approx((4.0, 400.0, 100.0))
    assert found.cpu_us == pytest.approx(4000)


def test_noise_is_not_hidden() -> None:
    idle = (Reading(0.0, 0, 0, 0.0), Reading(2.0, 20, 200, 0.02))
    assert cost(2, 2, (Reading(5.0, 0, 0, 0.0), Reading(6.0, 5, 0, 0.0)), idle, turns=1).calls == pytest.approx(-5.0)


def test_the_first_turn_stands_alone() -> None:
    assert edges(25, 10) == [0, 1, 10, 20, 25]


def test_a_first_turn_reads_nothing() -> None:
    assert within(0, 1, (0.0, 80.0)) == 0.0


def test_turns_read_what_was_said_before_them() -> None:
    """After 10 turns a history costs 100, after 20 it costs 200: turns 11 to 20 read 100, 110, ... 190."""
    assert within(10, 20, (100.0, 200.0)) == pytest.approx(145.0)


def test_facts_are_read_by_name() -> None:
    assert parse("# Server\r\nprocess_id:12\r\n")["process_id"] == "12"


def test_pictures_are_files_of_their_own() -> None:
    streams = [AtOnce(count, 50.0, 5.0, 1 << 26, 100.0, 0) for count in (1, 10, 100)]
    drawn = dict(pictures(streams, [Turns(1, 1, 5.0, 900.0, 3000.0, 4.0)]))
    assert len(drawn) == 6
    for picture in drawn.values():
        assert ET.fromstring(standalone(picture)).tag == "{http://www.w3.org/2000/svg}svg"
