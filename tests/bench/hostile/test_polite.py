"""The polite clients' figures."""

import asyncio
from time import perf_counter

import pytest

from bench.hostile.polite import PERIOD, Figures, Polite, worse
from bench.load.sample import Sample


def polite(*samples: Sample) -> Polite:
    """Two streams that asked these."""
    found = Polite("", 2)
    found._samples += samples
    found._latest |= dict(enumerate(samples[-2:]))
    return found


def answered(intended: float, ttft: float = 0.1) -> Sample:
    return Sample(intended, intended, [intended + ttft, intended + ttft + 0.02], ended=intended + ttft + 0.02)


def test_what_was_due_in_the_time_counts() -> None:
    figures = polite(answered(1.0), answered(5.0, 0.3), answered(9.0)).figures(2.0, 8.0)
    assert (figures.asked, figures.failed) == (1, [])
    assert figures.ttft == pytest.approx(0.3)
    assert figures.gap == pytest.approx(0.02)


def test_a_question_that_still_waits_counts_with_its_wait() -> None:
    """A node that answers nobody must not look like one that answered everybody."""
    now = perf_counter()
    assert polite(Sample(now - 30, now - 30, [])).figures(now - 60, now).ttft >= 30


def test_failures_are_told_by_kind() -> None:
    assert polite(Sample(1.0, 1.0, [], ended=2.0, error="cut")).figures(0.0, 2.0).failed == ["cut"]


def test_a_question_that_is_being_answered_counts_with_its_first_text() -> None:
    now = perf_counter()
    assert polite(Sample(now - 30, now - 30, [now - 29.5])).figures(now - 60, now).ttft == pytest.approx(0.5)


async def test_they_are_settled_once_nobody_is_behind() -> None:
    now = perf_counter()
    await asyncio.wait_for(polite(answered(now + 50.0), answered(now + 50.0)).settled(600), 60)
    assert polite(answered(now), Sample(now - 2 * PERIOD, now, []))._behind()
    assert polite(answered(now))._behind(), "the other one has not asked yet"


def test_worse_is_the_median_of_pairs() -> None:
    control = [Figures(1, 0.1, 0.02)] * 3
    assert worse([Figures(1, ttft, 0.02) for ttft in (0.1, 0.2, 0.9)], control)[0] == pytest.approx(0.1)
    assert worse([Figures(1, 0.5, 0.5)], []) == (0.0, 0.0)
