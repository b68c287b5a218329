"""Which core runs what."""

import os
import subprocess
import sys

import pytest

from bench.pin import cores, pin_family, pinned


def test_cores_are_numbers_and_ranges() -> None:
    assert cores("0") == {0}
    assert cores("1,4-6") == {1, 4, 5, 6}
    with pytest.raises(ValueError, match="x"):
        cores("x")


def test_a_pinned_block_ends() -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    with pinned(str(one)):
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == before
    with pinned(""):
        assert os.sched_getaffinity(0) == before


def test_engine_and_server_processes_are_pinned_to_different_cores() -> None:
    """A child counts as an engine by its name."""
    allowed = sorted(os.sched_getaffinity(0))
    first, last = allowed[0], allowed[-1]
    child = "input()"
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}, 'VLLM::Engine' + 'Core'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\ninput()\nchild.communicate(b'x')"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        engine = int(process.stdout.readline())
        pin_family(process.pid, str(first), str(last))
        assert os.sched_getaffinity(engine) == {first}
        assert os.sched_getaffinity(process.pid) == {last}
        process.communicate(b"x\n")
