"""Kills, freezes, restarts, cuts and stalls on real processes: no answer may be lost, repeated or changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = ("kill", "freeze", "rolling", "cuts", "redis-stall")


def require(program: str) -> None:
    """Skip without it, or fail where CI is set."""
    if shutil.which(program) is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {program} on this machine")
        pytest.skip(f"no {program} on this machine")


@pytest.mark.redis
@pytest.mark.timeout(420)
def test_a_short_run_is_clean(tmp_path: Path) -> None:
    """The command itself, as anybody runs it; its table is the test's output."""
    require("haproxy")
    require("redis-server")
    command = [sys.executable, "-m", "bench.faults", "--short", "--json", str(tmp_path / "rows.json")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    rows = {row["scenario"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert set(rows) == set(SCENARIOS)
    for row in rows.values():
        assert row["injected"] > 0
        assert row["hit"] > 0, f"{row['scenario']} hurt nobody, so it shows nothing"
        assert row["turns"] > 0
