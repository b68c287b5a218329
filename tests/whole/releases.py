"""The release before and this one, as whole nodes on one Redis."""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import pytest

from tests.redis_server import Server, binary, running
from tests.whole.process import ROOT, Program, program

SLOTS = {"old": 10, "new": 12}  # different ones, so that the registry's rows can be told apart
VIEW = Path(__file__).with_name("registry_view.py")


def previous_hash() -> str:
    """The commit of the release before."""
    return (ROOT / "tests" / "previous-release").read_text().strip()


@contextmanager
def previous_tree() -> Iterator[Path]:
    """The tree of the release before, out of the repository's history.

    Without it tests are skipped, or fail where CI is set.
    """
    with tempfile.TemporaryDirectory(prefix="tl-previous-") as folder:
        try:
            packed = subprocess.run(
                [
                    "git",
                    "archive",
                    "--format=tar",
                    previous_hash(),
                    "--",
                    "server",
                    "engine",
                    "static",
                    "pyproject.toml",
                ],
                cwd=ROOT,
                capture_output=True,
                check=True,
            ).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            _missing(getattr(error, "stderr", b"").decode(errors="replace").strip() or str(error))
        subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
        yield Path(folder)


def _missing(reason: str) -> NoReturn:
    words = f"THE PREVIOUS RELEASE WAS NOT TESTED: {previous_hash()} is not in this repository's history ({reason})"
    if os.environ.get("CI"):
        pytest.fail(words)
    warnings.warn(pytest.PytestWarning(words), stacklevel=2)  # a run's summary shows it; of a skip, only the count
    pytest.skip(words)


class Releases:
    """A node of each release. One that a test ended is started again for the next."""

    def __init__(self, redis: Server, nodes: dict[str, Program]) -> None:
        self.redis = redis
        self.nodes = nodes

    def ready(self) -> "Releases":
        """Both nodes answer."""
        for node in self.nodes.values():
            if node.process is None:
                node.start()
        for node in self.nodes.values():
            node.wait("/readyz")
        return self

    def view(self, release: str) -> dict[str, Any]:
        """What this release makes of the registry: `free_slots` by owner, and the owners that are `dead`."""
        environment = os.environ | {"PYTHONPATH": str(self.nodes[release].root)}
        command = [sys.executable, "-P", str(VIEW), self.redis.url]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # behind what it logged
        return seen

    def client(self, release: str) -> httpx2.Client:
        """HTTP to its node."""
        return httpx2.Client(base_url=f"{self.nodes[release].http}/v1/", timeout=90)


@contextmanager
def both(*flags: str) -> Iterator[Releases]:
    """One node of each release on one real Redis, both ready."""
    with ExitStack() as stack:
        tree = stack.enter_context(previous_tree())
        redis = stack.enter_context(running(binary("redis7")))
        nodes = {}
        for release, root in (("old", tree), ("new", ROOT)):
            slots = ("--scripted-slots", str(SLOTS[release]))
            each = program("--engine", "scripted", "--redis-url", redis.url, *slots, *flags, root=root)
            nodes[release] = stack.enter_context(each)
        yield Releases(redis, nodes).ready()
