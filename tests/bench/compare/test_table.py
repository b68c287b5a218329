"""From rounds to ratios."""

import pytest

from bench.compare.table import PROMISES, Cell, Promise, table, values, verdict

N1, N2, *_, N4, N5 = PROMISES
OURS, THEIRS, FLOOR = N1.one, N1.other, N4.other


def cell(name: str, round: int, tokens: float = 0.0, cpu: float = 0.0, single: float = 0.0, failed: int = 0) -> Cell:
    return Cell(name, round, tokens, cpu, 2.0, 50.0, single, failed, 1.5, 64 << 20, 7.0)


CELLS = [
    cell(THEIRS, 0, 1000, 90, failed=1),
    cell(OURS, 0, 1300, 30, 9.0),
    cell(FLOOR, 0, 1350, 20, 7.0),
    cell(OURS, 1, 2600, 60, 8.0),
    cell(THEIRS, 1, 2500, 100),
    cell(THEIRS, 2, 10, 1000),
]


def test_ratios_are_taken_within_a_round() -> None:
    assert values(N1, CELLS) == [1.3, 1.04]
    assert values(N2, CELLS) == pytest.approx([30 / 90, 0.6])


def test_some_promises_are_differences() -> None:
    assert values(N4, CELLS) == [2.0]


def test_the_log_s_share_is_a_ratio_of_ours_to_ours() -> None:
    cells = [cell(N5.one, 0, cpu=44.0), cell(N5.other, 0, cpu=40.0)]
    assert verdict(N5, cells).endswith("1.10x (1.10 to 1.10 in 1 rounds; target <= 1.2x) kept")


def test_a_verdict_names_median_range_and_target() -> None:
    assert verdict(N1, CELLS).endswith("1.17x (1.04 to 1.30 in 2 rounds; target >= 1.2x) MISSED")
    assert verdict(N2, CELLS).endswith("0.47x (0.33 to 0.60 in 2 rounds; target <= 0.5x) kept")
    assert verdict(N4, CELLS).endswith("2.00 (2.00 to 2.00 in 1 rounds; target <= 3) kept")


def test_what_was_not_measured_is_not_kept() -> None:
    gateway = next(promise for promise in PROMISES if "agentic" in promise.other)
    assert verdict(gateway, CELLS) == f"N2  {gateway.what}: not measured (target <= 0.33x)"


def test_a_round_without_the_other_does_not_count() -> None:
    assert values(Promise("x", "", "a", "b", "tokens", least=1.0), [cell("a", 0, 5), cell("b", 1, 5)]) == []


def test_rows_are_medians_and_absent_ones_say_why() -> None:
    lines = table(CELLS, {"agentic-api": "not installed"}).splitlines()
    assert lines[2] == f"| {THEIRS} | 1,000 | 100.0 us | 2.0 us | 1.5 | 50.0 ms | 7.0 ms | 0.0 ms | 1 | 64 MiB |"
    assert lines[3] == f"| {OURS} | 1,950 | 45.0 us | 2.0 us | 1.5 | 50.0 ms | 7.0 ms | 8.5 ms | 0 | 64 MiB |"
    assert lines[-1] == "| agentic-api | not installed |  |  |  |  |  |  |  |  |"
    assert {line.count("|") for line in lines} == {11}
