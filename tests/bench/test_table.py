"""What a run prints, and what it counts as wrong."""

import math

import pytest

from bench.faults.ledger import Ledger
from bench.faults.table import Row, percentile, render
from bench.faults.workload import Fault, felt_gap, is_contiguous, logged_problem
from tests.bench.test_ledger import frames


@pytest.mark.parametrize("kind", ["lost", "repeated", "changed", "failed", "broken"])
def test_a_row_with_one_wrong_turn_is_not_clean(kind: str) -> None:
    row = Row("kill", turns=1000)
    assert row.clean
    setattr(row, kind, 1)
    assert not row.clean


def test_a_row_with_a_complaint_is_not_clean() -> None:
    assert not Row("rolling", wrong=["node0 ended with 1"]).clean


def test_a_row_with_refusals_and_holes_is_clean() -> None:
    assert Row("stall", refused=3, holes=1, errors=2).clean


def test_the_table_has_a_line_for_each_row_and_note() -> None:
    text = render([Row("kill", turns=7, gaps=[0.1, 0.2, 0.3]), Row("cuts", notes=["a note"], wrong=["a fault"])])
    head, kill, cuts, note, wrong = text.splitlines()
    assert len(head) == len(kill) == len(cuts)
    assert kill.split()[:3] == ["kill", "0", "7"]
    assert kill.split()[-2:] == ["200", "298"]
    assert cuts.split()[-2:] == ["-", "-"]
    assert (note, wrong) == ("cuts: a note", "cuts: WRONG: a fault")


def test_percentiles_of_few_values() -> None:
    assert math.isnan(percentile([], 50))
    assert percentile([3.0], 99) == 3.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0


@pytest.mark.parametrize(
    ("ids", "good"),
    [
        ([], True),
        ([(1, 2), (2, 1), (9, 7)], True),
        ([(1, 2), (1003, 2)], True),  # a hole of 1,000 numbers, and two events behind it
        ([(2, 2)], False),  # does not begin at 0
        ([(1, 2), (3, 1)], False),  # an event is missing
        ([(1, 2), (2, 2)], False),  # one is there twice
    ],
)
def test_entries_of_a_log_follow_each_other(ids: list[tuple[int, int]], good: bool) -> None:
    assert is_contiguous(ids) is good


def turn(*times: float, cuts: tuple[float, ...] = ()) -> Ledger:
    ledger = Ledger("hello", 0.0)
    for event, time in zip(frames(), times, strict=False):
        ledger.add(event, time)
    ledger.cuts += cuts
    return ledger


@pytest.mark.parametrize(
    ("ledger", "gap"),
    [
        (turn(0.0, 1.0), None),  # it had ended before
        (turn(2.1, 2.2), None),  # it began later
        (turn(1.9, 2.1, 2.2), None),  # it went on as before
        (turn(1.9, 2.1, 2.2, cuts=(2.05,)), 0.1),  # it lost its socket
        (turn(1.9, 2.8), 0.8),  # it was silent
        (turn(1.9, 2.1, 2.2, cuts=(9.0,)), None),  # another fault cut it
    ],
)
def test_a_turn_was_hit_by_a_fault_if_it_lost_its_socket_or_was_silent(ledger: Ledger, gap: float | None) -> None:
    assert felt_gap(ledger, Fault(2.0, 3.0)) == (None if gap is None else pytest.approx(gap))


@pytest.mark.parametrize(
    ("line", "worrying"),
    [
        ('{"event": "turn", "level": "info"}', ""),
        ('{"event": "a turn\'s task failed", "level": "error"}', "a turn's task failed"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("RuntimeWarning: coroutine 'f' was never awaited", "RuntimeWarning: coroutine 'f' was never awaited"),
        ("a library's chatter", ""),
    ],
)
def test_errors_and_tracebacks_are_found_in_log_lines(line: str, worrying: str) -> None:
    assert logged_problem(line) == worrying
