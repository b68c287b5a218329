"""From samples to numbers, with numbers that can be checked in the head."""

import pytest

from bench.load.metrics import Rules, good, peak, percentile, spread, summary, token_rate
from bench.load.sample import Sample

FAST = Sample(0.0, 0.0, [0.1, 0.2, 0.3], ended=0.4, input_tokens=5, output_tokens=4)
SLOW = Sample(1.0, 1.5, [2.0, 2.1, 2.9], ended=3.0, input_tokens=7, output_tokens=6)
BROKEN = Sample(1.0, 1.0, [1.2], ended=1.3, error="http 503")


@pytest.mark.parametrize(("rank", "value"), [(0, 1.0), (50, 2.5), (90, 3.7), (100, 4.0)])
def test_percentiles_are_linear_between_neighbours(rank: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], rank) == pytest.approx(value)


def test_percentiles_of_no_values_are_zero() -> None:
    assert percentile([], 99) == 0.0
    assert set(spread("x", []).values()) == {0.0}


def test_spreads_are_in_milliseconds() -> None:
    numbers = spread("ttft", [0.1, 0.3])
    assert numbers["mean_ttft_ms"] == numbers["median_ttft_ms"] == numbers["p50_ttft_ms"] == pytest.approx(200)
    assert [numbers["std_ttft_ms"], numbers["max_ttft_ms"]] == pytest.approx([100, 300])
    assert numbers["p99_ttft_ms"] == pytest.approx(298)


def test_only_complete_answers_are_counted_and_errors_have_kinds() -> None:
    numbers = summary([FAST, SLOW, BROKEN], 0.0, Rules())
    assert (numbers["completed"], numbers["failed"], numbers["errors_by_kind"]) == (2, 1, {"http 503": 1})
    assert (numbers["total_input_tokens"], numbers["total_output_tokens"], numbers["total_events"]) == (12, 10, 6)


def test_rates_are_over_the_whole_measurement() -> None:
    numbers = summary([FAST, SLOW], 0.0, Rules())
    assert numbers["duration"] == 3.0
    assert numbers["output_throughput"] == pytest.approx(10 / 3)
    assert numbers["total_token_throughput"] == pytest.approx(22 / 3)
    assert numbers["request_throughput"] == pytest.approx(2 / 3)


def test_an_answer_is_good_if_it_meets_every_slo() -> None:
    assert good(FAST, {"ttft": 100, "tpot": 101})
    assert not good(FAST, {"ttft": 100, "tpot": 99})
    assert not good(SLOW, {"stall": 500})
    assert good(SLOW, {"e2el": 2000})


def test_goodput_counts_good_answers_and_is_absent_without_slos() -> None:
    numbers = summary([FAST, SLOW], 0.0, Rules(slos={"ttft": 500}))
    assert (numbers["request_goodput"], numbers["goodput_share"]) == (pytest.approx(1 / 3), 0.5)
    assert summary([FAST], 0.0, Rules())["request_goodput"] is None


def test_a_stall_is_a_gap_that_a_reader_notices() -> None:
    numbers = summary([FAST, SLOW], 0.0, Rules(stall=0.25))
    assert (numbers["stalled_share"], numbers["max_stall_ms"]) == (0.5, pytest.approx(800))


def test_late_sends_are_counted_and_failed_ones_too() -> None:
    numbers = summary([FAST, SLOW, BROKEN], 0.0, Rules())
    assert (numbers["late_sends"], numbers["max_late_send_ms"]) == (1, 500)


def test_tokens_are_spread_over_events() -> None:
    assert token_rate([SLOW], 0.0, 1.0) == [0.0, 0.0, 6.0]
    assert token_rate([FAST, SLOW], 0.0, 0.25) == pytest.approx([32 / 3, 16 / 3, 0, 0, 0, 0, 0, 0, 16, 0, 0, 8])


def test_requests_that_touch_do_not_overlap() -> None:
    one, other, third = Sample(0, 0, ended=2), Sample(1, 1, ended=3), Sample(2, 2, ended=4)
    assert peak([one, other, third]) == 2


def test_a_run_without_samples_has_a_summary() -> None:
    numbers = summary([], 5.0, Rules())
    assert (numbers["duration"], numbers["completed"], numbers["output_throughput"]) == (0.0, 0, 0.0)
