"""Whole runs with client processes of their own, against a server with known timing."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from bench.load import __main__ as program
from bench.load.measure import measure
from bench.load.options import Options
from bench.load.workers import LoadError, Progress, jobs
from tests.bench.load.conftest import ALL, options, sessions
from tests.bench.load.fake import Fake


def shares(concurrency: int, processes: int, rate: float = 0.0) -> list[tuple[int, int]]:
    asked = Options("ws", "", concurrency=concurrency, processes=processes, rate=rate)
    return [(job.concurrency, len(job.sessions)) for job in jobs(asked, sessions(10), [])]


def test_a_plan_is_divided_without_loss() -> None:
    assert shares(8, 3) == [(3, 4), (3, 3), (2, 3)]


def test_no_client_process_is_left_without_work() -> None:
    assert shares(2, 4) == [(1, 5), (1, 5)]
    assert len(shares(1, 4, rate=5.0)) == 4


@pytest.mark.parametrize("target", ALL)
async def test_processes_send_one_plan_and_their_samples_are_merged(server: Fake, target: str) -> None:
    """The clocks of processes on one machine are one clock, so the server's notes fit theirs too."""
    seen: list[Progress] = []
    asked = options(server, target, processes=2, concurrency=4, sessions=10, turns=2, warmup=2)
    result, run = await asyncio.to_thread(measure, asked, seen.append)
    assert (result["completed"], result["failed"], result["total_output_tokens"]) == (20, 0, 120)
    assert [result["total_events"], seen[-1].done, seen[-1].tokens] == [60, 20, 120]
    written = server.turns[4:]  # the first are of the warm-up
    texts = sorted(text for turn in written for text in turn.texts)
    stamps = sorted(stamp for sample in run.samples for stamp in sample.stamps)
    assert all(0 <= there - here < 1.0 for there, here in zip(stamps, texts, strict=True))
    assert run.began <= min(sample.sent for sample in run.samples)


async def test_a_model_is_asked_for_where_none_is_given(server: Fake) -> None:
    asked = msgspec.structs.replace(options(server, "chat", sessions=1), model="")
    result, _ = await asyncio.to_thread(measure, asked, lambda _: None)
    assert (result["model_id"], server.turns[0].body["model"]) == ("fake", "fake")


async def test_a_warm_up_that_fails_stops_the_run(server: Fake) -> None:
    server.fault = "error"
    with pytest.raises(LoadError, match="warm-up failed: error broken"):
        await asyncio.to_thread(measure, options(server, "ws", warmup=1), lambda _: None)


@pytest.mark.parametrize("target", ["ws", "sse"])
async def test_a_server_that_is_not_there_stops_the_run(target: str) -> None:
    with pytest.raises(LoadError, match="cannot be reached"):
        await asyncio.to_thread(measure, Options(target, "http://127.0.0.1:1", "m"), lambda _: None)


def test_a_process_that_is_not_there_is_named() -> None:
    with pytest.raises(LoadError, match="no process 999999999"):
        measure(Options("ws", "http://127.0.0.1:1", "m", pids=(999999999,)), lambda _: None)


async def test_the_command_writes_numbers_and_a_report(
    server: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An open loop from a trace, with a socket that carries two turns at once."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(f'{{"timestamp": {100 + index / 50}}}\n' for index in range(8)))
    chats = tmp_path / "chats.jsonl"
    chats.write_text('["Hello", "Bye"]\n')
    words = f"--target ws --url {server.url('ws')} --model fake --lanes 2 --trace {trace} --conversations {chats}"
    files = f"--json {tmp_path / 'a.json'} --html {tmp_path / 'a.html'} --detailed --slo ttft:5000 --label <b>"
    assert await asyncio.to_thread(program.main, [*words.split(), *files.split()]) == 0
    assert "<b>: 16 of 16 answers" in capsys.readouterr().out
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["completed"], result["goodput_share"], len(result["itls"]), result["backend"]) == (16, 1.0, 16, "ws")
    assert [round(start, 3) for start in result["start_times"][:2]] == [0.0, 0.02]
    assert {turn.body["input"][0]["content"] for turn in server.turns} == {"Hello", "Bye"}
    assert {turn.body["stream_id"] for turn in server.turns} == {"lane0", "lane1"}
    assert server.connections <= 8
    page = (tmp_path / "a.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>:" not in page
    assert page.count("<svg") == 4


async def test_a_run_without_a_completed_answer_exits_with_1(server: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    server.fault = "refuse"
    words = ["--target", "sse", "--url", server.url("sse"), "--model", "fake", "--sessions", "2"]
    assert await asyncio.to_thread(program.main, words) == 1
    assert "2 x http 503" in capsys.readouterr().out


async def test_a_run_that_cannot_start_exits_with_2(server: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--target", "sse", "--url", server.url("sse"), "--model", "fake", "--trace", "/nowhere"]
    assert await asyncio.to_thread(program.main, words) == 2
    assert "/nowhere" in capsys.readouterr().err
