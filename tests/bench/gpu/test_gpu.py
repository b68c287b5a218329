"""The command, as far as a machine without a GPU can run it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.compare import __main__ as compare
from bench.compare.systems import Setup, System, Way
from bench.compare.table import OURS
from bench.gpu import __main__ as program
from bench.gpu.__main__ import REAL, SMALL, main, setup


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(program, "gpus", list)
    assert main([]) == 2
    assert "no NVIDIA GPU" in capsys.readouterr().err


def test_gpus_are_what_the_driver_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA X, 81559 MiB, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert program.gpus() == ["NVIDIA X, 81559 MiB, 570.1"]
    tool.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert program.gpus() == []


def test_no_stream_waits_for_a_place_in_the_engine() -> None:
    for streams in REAL.streams:
        assert setup(REAL, Path("/model"), streams).seqs >= streams
    assert "dummy" in setup(SMALL, Path("/model"), 2).engine


def fake(setup: Setup, ports: Sequence[int], folder: Path) -> list[list[str]]:
    assert (Path(setup.model) / "config.json").exists()
    return [[sys.executable, "-m", "tests.bench.load.fake", str(port)] for port in ports]


def test_every_number_of_streams_has_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With a server in place of both, since a real engine takes half a minute to start."""
    monkeypatch.setattr(program, "SYSTEMS", ("ours",))
    monkeypatch.setattr(compare, "SYSTEMS", {"ours": System("ours", (Way("chat", OURS),), "/health", fake)})
    monkeypatch.setattr(compare, "SINGLE", 2)
    path = tmp_path / "gpu.json"
    assert main(["--cpu", "--json", str(path)]) == 0
    runs = json.loads(path.read_text())["runs"]
    assert [(run["streams"], [cell["name"] for cell in run["cells"]]) for run in runs] == [(2, [OURS]), (4, [OURS])]
    assert all(cell["tokens"] > 0 and cell["failed"] == 0 for run in runs for cell in run["cells"])
    said = capsys.readouterr().out
    assert said.count(f"| {OURS} |") == 2
    assert "N3  tokens/s, 4 streams" in said


def test_a_system_without_numbers_is_told_by_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = System("ours", (Way("chat", OURS),), "/health", lambda *_: [[sys.executable, "-c", "exit('no memory')"]])
    monkeypatch.setattr(program, "SYSTEMS", ("ours",))
    monkeypatch.setattr(compare, "SYSTEMS", {"ours": broken})
    assert main(["--cpu", "--streams", "2"]) == 1
