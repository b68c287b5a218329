"""Kills, freezes, restarts, cuts and stalls on real processes: no answer may be lost, repeated or changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.faults.process import find_program
from tests.requirements import missing

ROOT = Path(__file__).parents[2]
SCENARIOS = ("kill", "freeze", "rolling", "cuts", "redis-stall")


def test_a_server_that_only_root_has_on_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "balancer").touch(mode=0o755)
    monkeypatch.setattr("bench.faults.process.SERVERS", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin")
    assert find_program("balancer") == str(tmp_path / "balancer")
    assert find_program("no-such-program") is None


@pytest.mark.redis
@pytest.mark.timeout(1200)
def test_a_short_fault_run_loses_repeats_and_changes_nothing(tmp_path: Path) -> None:
    """The command itself, as anybody runs it; its table is the test's output."""
    for tool in ("haproxy", "redis-server"):
        if find_program(tool) is None:
            missing(f"no {tool} on this machine: no fault was injected")
    command = [sys.executable, "-m", "bench.faults", "--short", "--json", str(tmp_path / "rows.json")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1150, check=False)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    rows = {row["scenario"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert set(rows) == set(SCENARIOS)
    for row in rows.values():
        assert row["injected"] > 0
        assert row["hit"] > 0, f"{row['scenario']} hurt nobody, so it shows nothing"
        assert row["turns"] > 0
