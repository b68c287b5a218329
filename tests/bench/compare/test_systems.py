"""How servers are started."""

from pathlib import Path

import pytest

from bench.compare.systems import FLOORS, SYSTEMS, Setup, floor, missing
from bench.compare.table import PROMISES
from bench.load.target import TARGETS

SETUP = Setup("/model", 64, 256, 128, 16, engine_core="0", server_core="1")
FOLDER = Path("/tmp/x")


def words(name: str) -> list[list[str]]:
    return SYSTEMS[name].commands(SETUP, [7001, 7002], FOLDER)


def test_all_systems_run_the_same_engine_options() -> None:
    options = ["--enforce-eager", "--gpu-memory-utilization", "0.2"]
    for name in SYSTEMS:
        first = words(name)[0]
        at = first.index("--enforce-eager")
        assert first[at : at + 3] == options
        assert "VLLM_CPU_OMP_THREADS_BIND=0" in first
        assert "/model" in first


def test_our_options_for_the_engine_come_behind_a_mark() -> None:
    (ours,) = words("ours")
    assert ours.index("--") < ours.index("--enforce-eager")
    assert ours[ours.index("--port") + 1] == "7001"


def test_without_its_log_it_is_the_same_program() -> None:
    (ours,), (bare,) = words("ours"), words("ours-no-log")
    assert [word for word in bare if word not in {"--store", "memory"}] == ours
    assert bare[bare.index("--store") + 1] == "memory"
    assert bare.index("--store") < bare.index("--")


def test_statistics_are_on_unless_they_are_not() -> None:
    assert "--disable-log-stats" not in words("vllm")[0]
    assert "--disable-log-stats" in words("vllm-quiet")[0]
    assert "--log-stats" in floor(SETUP, "floor-stats", FOLDER)
    assert "--log-stats" not in floor(SETUP, "floor", FOLDER)


def test_the_gateway_stands_in_front_of_a_server() -> None:
    server, gateway = words("agentic")
    assert "7001" in server
    assert gateway[gateway.index("--upstream") + 1] == "http://127.0.0.1:7001"
    assert gateway[gateway.index("--gateway-port") + 1] == "7002"


def test_a_system_that_is_not_installed_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [name for name, system in SYSTEMS.items() if missing(system)] == ["agentic"]
    (tmp_path / "agentic").touch(0o755)
    assert not missing(SYSTEMS["agentic"])


def test_every_promise_is_about_rows_that_there_are() -> None:
    """And every row is asked in a way that the load generator knows."""
    ways = [way for system in SYSTEMS.values() for way in system.ways]
    assert {way.target for way in ways} <= TARGETS.keys()
    names = {way.name for way in ways} | set(FLOORS.values())
    assert {name for promise in PROMISES for name in (promise.one, promise.other)} <= names
