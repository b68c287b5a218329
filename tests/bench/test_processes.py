"""What processes cost."""

import os
import subprocess
import sys

import pytest

from bench.processes import PAGE, TICKS, Entry, ResourceUsage, entry, family, parse, per_token, split, table, usage

STAT = "7 (a ) name) S 3 7 7 0 -1 4194304 1 0 0 0 250 50 9 9 20 0 1 0 100 1000 42 0"


def test_a_command_name_with_spaces_and_parentheses_is_parsed() -> None:
    assert parse(7, STAT, "") == Entry(7, 3, 7, 300 / TICKS, 42 * PAGE, "a ) name")
    assert parse(7, STAT, "python -m server ").command == "python -m server"


NODE = Entry(1, 0, 1, 10.0, 100, "python -m server")
REDIS = Entry(2, 1, 1, 2.0, 20, "/usr/bin/redis-server unixsocket:/x")
FORK = Entry(3, 1, 3, 0.5, 5, "python -c from multiprocessing.forkserver import main")
ENGINE = Entry(4, 3, 3, 70.0, 700, "VLLM::EngineCore")
OTHER = Entry(5, 9, 9, 1.0, 1, "bash")
ALL = {each.pid: each for each in (NODE, REDIS, FORK, ENGINE, OTHER)}


def test_a_process_family_includes_grandchildren_and_no_other_processes() -> None:
    assert family([1], ALL) == {1, 2, 3, 4}
    assert family([6], ALL) == set()


def test_engine_processes_are_recognised_by_command_line() -> None:
    assert split([NODE, REDIS, FORK, ENGINE]) == ResourceUsage(12.5, 2.0, 70.0, 125, 700)


def test_engine_processes_are_recognised_by_pid() -> None:
    assert split([NODE, FORK], engine_pids=[3]) == ResourceUsage(10.0, 0.0, 0.5, 100, 5)


def test_cpu_per_token_is_the_difference_of_two_readings() -> None:
    costs = per_token(ResourceUsage(1.0, 0.5, 7.0, 1, 2), ResourceUsage(1.5, 0.6, 9.0, 30, 40), 10_000)
    assert costs["server_cpu_us_per_token"] == 50.0
    assert costs["store_cpu_us_per_token"] == pytest.approx(10.0)
    assert (costs["engine_cpu_us_per_token"], costs["server_rss_bytes"], costs["engine_rss_bytes"]) == (200.0, 30, 40)


def test_cpu_per_token_of_no_tokens_is_zero() -> None:
    assert per_token(ResourceUsage(), ResourceUsage(1.0), 0)["server_cpu_us_per_token"] == 0.0


def test_the_process_table_contains_this_process() -> None:
    own = table()[os.getpid()]
    assert own.parent == os.getppid()
    assert own.rss > 1 << 20


def test_cpu_of_an_ended_child_counts_for_its_parent() -> None:
    before = usage([os.getpid()])
    program = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        after, own = usage([os.getpid()]), entry(child.pid)
        apart = usage([os.getpid()], engine_pids=[child.pid])
        child.communicate(b"\n")
    assert own is not None
    assert own.cpu >= 0.15
    assert after.serving_cpu - before.serving_cpu >= 0.15
    assert apart.engine_cpu >= 0.15


def test_a_process_that_is_gone_has_no_entry() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert entry(child.pid) is None
    assert usage([child.pid]) == ResourceUsage()
