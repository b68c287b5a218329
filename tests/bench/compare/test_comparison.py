"""Rounds over programs that are really started."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.compare import __main__ as program
from bench.compare.__main__ import Comparison, conditions
from bench.compare.systems import Setup, System, Way

SETUP = Setup("/model", streams=3, requests=6, output_tokens=6, prompt_words=2)


def fake(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    return [[sys.executable, "-m", "tests.bench.load.fake", str(port)] for port in ports]


def broken(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    return [[sys.executable, "-c", "exit('no such model')"]]


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = (Way("responses", "A, responses"), Way("chat", "A, chat"))
    made = {
        "a": System("a", ways, "/health", fake, programs=2),
        "b": System("b", (Way("chat", "B"),), "/health", broken),
        "c": System("c", (Way("ws", "C"),), "/health", fake, binary="no-such-program"),
    }
    monkeypatch.setattr(program, "SYSTEMS", made)
    monkeypatch.setattr(program, "SINGLE", 2)


@pytest.mark.usefixtures("systems")
def test_every_api_has_a_cell_in_every_round(tmp_path: Path) -> None:
    comparison = Comparison(SETUP, ["a", "b", "c"], tmp_path)
    comparison.round(0)
    comparison.round(1)
    names = [(cell.round, cell.name) for cell in comparison.cells]
    assert names == [(0, "A, responses"), (0, "A, chat"), (1, "A, responses"), (1, "A, chat")]
    assert all(cell.tokens > 0 and cell.single >= 30 and cell.failed == 0 for cell in comparison.cells)
    assert comparison.absent == {"b": "ended with status 1: no such model", "C": "not installed"}


@pytest.mark.usefixtures("systems")
def test_every_other_round_goes_backwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = Comparison(SETUP, ["c", "b"], tmp_path)
    comparison.round(0)
    comparison.round(1)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("round")]
    assert lines == ["round 1: c", "round 1: b", "round 2: b", "round 2: c"]


def test_a_table_says_under_which_conditions() -> None:
    text = conditions(SETUP, 5)
    assert "3 streams, 6 answers of 6 tokens; medians of 5 rounds" in text
    assert "Python 3." in text
    assert "engine on cores any" in text
