"""A node and its engine killed for real."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from engine.vllm import process
from tests.engine.real import MODEL, require_vllm
from tests.waiting import wait_until
from tests.whole.process import shared_memory

pytestmark = pytest.mark.vllm


@pytest.mark.parametrize(("inherited", "new"), [(None, True), ("vllm-of-1-x", True), ("run", False)])
def test_a_folder_for_sockets_that_another_process_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: str | None, new: bool
) -> None:
    """As where a node is started by a program that has an engine itself; one that a user named is kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(process.SOCKETS, raising=False)
    if inherited is not None:
        monkeypatch.setenv(process.SOCKETS, str(tmp_path / inherited))
    made = process._shared_environment(MODEL, None)
    assert (process.SOCKETS in made) is new
    monkeypatch.setenv(process.SOCKETS, made.get(process.SOCKETS, str(tmp_path / "run")))
    assert process.SOCKETS not in process._shared_environment(MODEL, None)


class Node:
    """A process of `tests.engine.node`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.engine.node", MODEL]
        self.folder = Path(tempfile.mkdtemp(prefix="n"))  # short, since sockets' names may have 107 characters
        environment = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR", "TMPDIR": str(self.folder)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.shared = shared_memory()

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        for got in self.process.stdout:
            if got.strip() == line:
                return
        raise AssertionError(f"the node ended before it said {line!r}")

    def descendants(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def imports(self) -> bool:
        """Whether one of its processes has loaded torch, with which the import of vLLM begins."""
        maps = (Path(f"/proc/{process.pid}/maps").read_text() for process in self.descendants())
        return any("libtorch" in each for each in maps)

    def files(self) -> list[str]:
        """Temporary ones, but for the cache that torch keeps there from run to run."""
        return [path.name for path in self.folder.iterdir() if not path.name.startswith("torchinductor_")]

    def left(self, processes: list[psutil.Process]) -> list[psutil.Process]:
        """Those that still run after a minute."""
        return list(psutil.wait_procs(processes, timeout=60)[1])


@pytest.fixture
def node() -> Iterator[Node]:
    require_vllm()
    node = Node()
    yield node
    node.process.kill()
    node.process.wait()
    shutil.rmtree(node.folder)


def engine_core(processes: list[psutil.Process]) -> psutil.Process:
    return next(process for process in processes if "EngineCore" in " ".join(process.cmdline()))


def test_a_killed_node_leaves_nothing_behind(node: Node) -> None:
    node.wait_for("started")
    processes = node.descendants()
    engine_core(processes).suspend()  # frozen engines die too
    node.process.kill()
    assert node.left(processes) == []
    assert shared_memory() <= node.shared
    assert node.files() == []


def test_a_node_killed_while_it_imports_leaves_nothing_behind(node: Node) -> None:
    node.wait_for("preloading")
    wait_until(node.imports, "it has begun to import vLLM", seconds=60)
    processes = node.descendants()
    node.process.kill()
    assert node.left(processes) == []
    assert node.files() == []


def test_a_killed_engine_is_noticed_and_cleared_away(node: Node) -> None:
    node.wait_for("started")
    processes = node.descendants()
    killed = time.monotonic()
    engine_core(processes).send_signal(signal.SIGKILL)
    node.wait_for("engine dead")
    assert time.monotonic() - killed < 30
    node.wait_for("closed")
    assert node.process.wait(timeout=90) == 0
    assert node.left(processes) == []


def test_a_frozen_engine_is_noticed_and_cleared_away(node: Node) -> None:
    """Its generations end when the node closes it, and nothing waits for the frozen process."""
    node.wait_for("started")
    processes = node.descendants()
    frozen = time.monotonic()
    engine_core(processes).suspend()
    node.wait_for("the engine has not moved for 1 s")
    assert time.monotonic() - frozen < 30
    node.wait_for("engine dead")
    node.wait_for("closed")
    assert node.process.wait(timeout=90) == 0
    assert node.left(processes) == []
