"""Servers that a measurement starts."""

import signal
import sys
from pathlib import Path

import pytest

from bench.launch import NotReady, free_port, python, scratch, started
from bench.processes import entry


def test_a_server_is_waited_for_and_ended(tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with started(words, tmp_path) as running:
        assert running.wait_ready(f"http://127.0.0.1:{port}/", 90) >= 0
        assert entry(running.pid) is not None
    assert running.process.returncode == -signal.SIGTERM
    assert entry(running.pid) is None


def test_child_processes_of_a_stopped_server_are_ended(tmp_path: Path) -> None:
    """Not even a child that ignores SIGTERM."""
    port = free_port()
    child = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(60)"
    )
    program = (
        "import http.server, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    with started([sys.executable, "-c", program], tmp_path) as running:
        running.wait_ready(f"http://127.0.0.1:{port}/", 90)
        deaf = int(running.tail().splitlines()[0])
    gone = entry(deaf)
    assert gone is None or gone.rss == 0  # a zombie until whoever adopts it looks


def test_a_server_that_exits_during_start_is_reported_at_once(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print('no such model'); exit(3)"]
    with started(words, tmp_path) as running, pytest.raises(NotReady, match=r"status 3: no such model"):
        running.wait_ready("http://127.0.0.1:1/", 90)


def test_a_server_that_does_not_answer_in_time_is_reported(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with started(words, tmp_path) as running, pytest.raises(NotReady, match="did not answer"):
        running.wait_ready("http://127.0.0.1:1/", 0.1)


def test_a_scratch_folder_is_removed() -> None:
    with scratch() as folder:
        (folder / "file").touch()
    assert not folder.exists()


def test_environment_variables_are_part_of_the_command() -> None:
    words = python({"A": "1"}, "-m", "x")
    assert words[:5] == ["env", "-u", "PYTHONDONTWRITEBYTECODE", "DRAIN_SECONDS=0", "A=1"]
    assert words[-2:] == ["-m", "x"]
