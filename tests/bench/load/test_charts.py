"""Pictures."""

import xml.etree.ElementTree as ET

import pytest

from bench.load.charts import bins, cumulative, curve, histogram, short, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (0.0, 0.9, [0, 0.2, 0.4, 0.6, 0.8]),
        (3.0, 3.0, [3.0]),
        (0.0, 1234.0, [0, 500, 1000]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, "0"), (0.25, "0.25"), (999.0, "999"), (2500.0, "2.5k"), (1e6, "1M"), (-2000.0, "-2k")]
)
def test_numbers_on_an_axis_are_short(value: float, expected: str) -> None:
    assert short(value) == expected


def test_a_histogram_counts_the_values_beyond_its_range() -> None:
    assert "ms (2 more beyond)" in histogram([1.0, 2.0, 90.0, 91.0], {"p50": 2.0}, "ms", "answers")
    assert "beyond" not in histogram([1.0, 2.0], {"p50": 2.0}, "ms", "answers")


def test_the_names_of_marks_are_above_their_lines() -> None:
    picture = ET.fromstring(histogram([1.0, 1.1], {"p50 1": 1.0, "p90 1.1": 1.1}, "ms", "answers"))
    (name,) = (node for node in picture.iter("text") if node.get("class") == "name")
    tops = [float(node.get("y1", "0")) for node in picture.iter("line") if node.get("class") == "mark"]
    assert (name.text, len(tops)) == ("p50 1, p90 1.1", 2)
    assert float(name.get("y", "0")) < min(tops)


def test_bins_count_every_value_up_to_the_end() -> None:
    assert bins([0.0, 1.0, 4.9, 5.0, 9.0, 10.0, 11.0], 10.0, 2) == [3, 3]


def test_a_cumulative_curve_rises_to_all() -> None:
    assert cumulative([3.0, 1.0, 2.0, 4.0]) == [(1.0, 25.0), (2.0, 50.0), (3.0, 75.0), (4.0, 100.0)]
    many = cumulative([float(value) for value in range(1000)])
    assert (len(many), many[-1]) == (201, (999.0, 100.0))
    assert cumulative([]) == []


@pytest.mark.parametrize("values", [[], [0.0], [1.0, 2.0, 900.0]])
def test_pictures_are_well_formed_and_stay_in_their_frame(values: list[float]) -> None:
    for picture in (
        histogram(values, {"p50 <x>": 2.0}, "ms", "answers"),
        curve(cumulative(values), "s", "%", {"a": 1.0}),
    ):
        for node in ET.fromstring(picture).iter():
            assert all(-1 <= float(node.get(name, "0")) <= 561 for name in ("x", "y", "x1", "x2", "y1", "y2"))
