"""One request's times, with numbers that can be checked in the head."""

import pytest

from bench.load.sample import Sample, rebuffer

ANSWER = Sample(10.0, 10.5, [12.0, 12.5, 14.5, 15.0], ended=16.0, output_tokens=9)


def test_latencies_count_from_the_intended_time() -> None:
    assert (ANSWER.late, ANSWER.ttft, ANSWER.latency) == (0.5, 2.0, 6.0)


def test_a_slow_handshake_is_not_the_clients_fault() -> None:
    """It is part of the latency all the same."""
    sample = Sample(10.0, 10.5, [12.0], ended=12.0, connecting=0.25)
    assert (sample.late, sample.ttft) == (0.25, 2.0)


def test_time_per_token_leaves_the_first_out() -> None:
    assert ANSWER.tpot == (6.0 - 2.0) / 8


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    assert Sample(0.0, 0.0, [1.0], ended=2.0, output_tokens=1).tpot == 0.0


def test_gaps_lie_between_events() -> None:
    assert (ANSWER.gaps, ANSWER.stall) == ([0.5, 2.0, 0.5], 2.0)


def test_an_answer_without_text_has_its_end_for_its_beginning() -> None:
    nothing = Sample(1.0, 1.0, [], ended=3.0)
    assert (nothing.ttft, nothing.gaps, nothing.stall, rebuffer(nothing, 10)) == (2.0, [], 0.0, 0.0)


def test_a_reader_waits_while_nothing_is_left_to_read() -> None:
    """Two tokens a second, one token an event: read to 12.5, to 13, waiting to 14.5, to 15, to 15.5."""
    sample = Sample(10.0, 10.0, [12.0, 12.5, 14.5, 15.0], ended=16.0, output_tokens=4)
    assert rebuffer(sample, 2.0) == pytest.approx(1.5 / 3.5)


def test_a_slow_reader_never_waits() -> None:
    assert rebuffer(ANSWER, 0.5) == 0.0
