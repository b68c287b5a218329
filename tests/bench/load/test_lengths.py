"""How long things are."""

import random
from statistics import fmean, median

import pytest

from bench.load.lengths import Length, parse


def drawn(text: str) -> list[int]:
    rng = random.Random(3)
    return [parse(text).draw(rng) for _ in range(4000)]


def test_a_bare_number_is_a_fixed_length() -> None:
    assert parse("128") == parse("fixed:128") == Length("fixed", 128.0)
    assert set(drawn("128")) == {128}


def test_uniform_lengths_include_both_bounds() -> None:
    assert set(drawn("uniform:3,6")) == {3, 4, 5, 6}


def test_normal_has_its_mean() -> None:
    assert fmean(drawn("normal:60,9")) == pytest.approx(60, rel=0.02)


def test_lognormal_has_its_median_and_a_long_tail() -> None:
    values = drawn("lognormal:60,0.8")
    assert median(values) == pytest.approx(60, rel=0.05)
    assert fmean(values) > 1.2 * median(values)


def test_no_length_is_below_one() -> None:
    assert min(drawn("normal:1,5")) == 1


@pytest.mark.parametrize("text", ["", "x", "0", "-3", "fixed:1,2", "uniform:5", "uniform:6,3", "poisson:4,1", "nan"])
def test_an_invalid_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length"):
        parse(text)
