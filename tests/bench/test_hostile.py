"""Hostile input of every family against a real process: it lives, and says what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.faults.process import find_program
from bench.hostile.corpus.catalogue import CATALOGUE
from tests.requirements import missing

ROOT = Path(__file__).parents[2]


@pytest.mark.redis
@pytest.mark.timeout(900)
def test_a_node_lives_and_answers_whatever_it_is_sent(tmp_path: Path) -> None:
    """The command itself, a few inputs of each family; its bounds are for a machine that does other things too."""
    if find_program("redis-server") is None:
        missing("no redis-server on this machine: nothing was thrown at a node")
    command = [sys.executable, "-m", "bench.hostile", "--short", "--json", str(tmp_path / "rows.json")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=850, check=False)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    rows = {row["family"]: row for row in json.loads((tmp_path / "rows.json").read_text())["scripted"]["rows"]}
    assert set(rows) == {family.name for family in CATALOGUE}
    for row in rows.values():
        assert row["outcomes"], f"nothing of {row['family']} was sent"
        assert row["loop"]["callback"] > 0, "nothing was measured"
