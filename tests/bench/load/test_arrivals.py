"""When sessions begin."""

import random
from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest

from bench.load.arrivals import BadTrace, constant, gamma, trace


def gaps(burstiness: float) -> list[float]:
    points = list(islice(gamma(20.0, burstiness, random.Random(1)), 4000))
    return [later - earlier for earlier, later in pairwise(points)]


def test_constant_gaps_begin_at_once() -> None:
    assert list(islice(constant(4.0), 4)) == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("burstiness", "variation"), [(1.0, 1.0), (0.25, 2.0), (4.0, 0.5)])
def test_gamma_gaps_have_the_rate_and_the_variation(burstiness: float, variation: float) -> None:
    """The coefficient of variation of a gamma distribution is one over the root of its shape."""
    drawn = gaps(burstiness)
    assert fmean(drawn) == pytest.approx(1 / 20.0, rel=0.1)
    assert pstdev(drawn) / fmean(drawn) == pytest.approx(variation, rel=0.1)


def test_equal_seeds_give_equal_times() -> None:
    assert gaps(1.0) == gaps(1.0)


def test_a_trace_begins_with_zero_in_order_and_may_be_played_faster() -> None:
    lines = ['{"timestamp": 12.0, "tokens": 5}', "10", "", "11.5"]
    assert trace(lines) == [0.0, 1.5, 2.0]
    assert trace(lines, speed=2.0) == [0.0, 0.75, 1.0]


@pytest.mark.parametrize("line", ["x", '{"time": 1}', "[]", '{"timestamp": "soon"}', "null"])
def test_a_line_without_a_time_is_named(line: str) -> None:
    with pytest.raises(BadTrace, match="line 2"):
        trace(["1", line])


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(BadTrace, match="no lines"):
        trace(["", " "])
