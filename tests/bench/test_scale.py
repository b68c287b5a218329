"""When tokens were due, and what a node adds."""

import argparse
import os
import re

import pytest
import uvloop

from bench.launch import scratch
from bench.load.observer import TurnFailed
from bench.load.sample import Sample
from bench.load.workers import Run
from bench.processes import table
from bench.scale import (
    Part,
    StreamLoad,
    delays,
    ends,
    enough,
    line,
    main,
    node,
    nodes_summary,
    part,
    redis,
    streams,
    tokens_by,
)

pytestmark = pytest.mark.redis


def test_a_syllable_is_one_token_and_a_multibyte_character_several() -> None:
    """`é` has two bytes, the last of which shows it."""
    assert list(ends(["ba ko", "", "é\n", "ne"])) == [(0, 0), (0, 1), (2, 3), (2, 4), (3, 5)]


def test_text_that_the_scripted_engine_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="hello"):
        list(ends(["ba", "hello"]))


def test_a_token_is_late_by_what_it_comes_after_its_time() -> None:
    """Ten a second from 100.0 on: due at 100.0, 100.1, 100.2 and 100.3; the last two come together."""
    sample = Sample(100.0, 100.0, [100.02, 100.11, 100.35], ended=100.4, output_tokens=4)
    found = delays(sample, ["ba", "be", "bibo"], 10.0)
    assert found.asked == pytest.approx([0.02, 0.01, 0.15, 0.05])
    assert found.best == pytest.approx([0.01, 0.0, 0.14, 0.04])


def test_an_answer_may_be_cut_within_a_character_only() -> None:
    sample = Sample(0.0, 0.0, [1.0], ended=1.0, output_tokens=4)
    assert len(delays(sample, ["ba"], 1.0).asked) == 1
    sample.output_tokens = 5
    with pytest.raises(ValueError, match="1 tokens were seen of 5"):
        delays(sample, ["ba"], 1.0)


@pytest.mark.parametrize(
    ("late", "errors", "word"), [([0.01, 0.024], [], "within 25"), ([0.01, 0.2], [], "ABOVE"), ([0.01], ["x"], "ABOVE")]
)
def test_the_summary_says_whether_the_delay_is_within_its_limit(
    late: list[float], errors: list[str], word: str
) -> None:
    load = StreamLoad(30.0, 10)
    load.seen.asked, load.seen.best, load.errors = late, late, errors
    assert f"({word}" in line(2, load, 10.0)


def test_enough_sessions_are_planned_for_the_fastest_node() -> None:
    """A plan of a million answers takes longer to draw and to hand over than most measurements."""
    assert enough(0.5, 20) == 5000
    assert enough(15.0, 150) == 20_000


def test_streams_of_a_real_node() -> None:
    given = argparse.Namespace(rate=50.0, tokens=25, seconds=1.0, settle=0.2)
    with scratch() as folder, node(folder, "n", ["--scripted-rate", "50", "--scripted-slots", "3"]) as (url, running):
        told = uvloop.run(streams(url, running.pid, 3, given))
    assert "failed" not in told
    assert int(told.split()[2]) >= 3 * 25


def test_a_node_has_its_core_and_this_process_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    before = os.sched_getaffinity(0)
    core = str(min(before))
    assert (
        main(["streams", "--streams", "1", "--rate", "50", "--seconds", "0.2", "--tokens", "5", "--cores", core]) == 0
    )
    assert capsys.readouterr().out.startswith("1 streams, ")
    assert os.sched_getaffinity(0) == before


def test_two_real_nodes_share_a_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes", "--streams", "2", "--seconds", "0.5", "--tokens", "20", "--rounds", "1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("one node ")
    assert second.startswith("N15  two nodes against one, processors are the limit")


def test_two_real_nodes_with_slow_engines(capsys: pytest.CaptureFixture[str]) -> None:
    """Two slots of 10 tokens a second: 22 with the first of each answer at once. A third stream keeps them busy."""
    words = ["--streams", "3", "--slots", "2", "--rate", "10", "--seconds", "2", "--tokens", "10", "--rounds", "1"]
    assert main(["nodes", *words]) == 0
    first, second = capsys.readouterr().out.splitlines()
    one, two = re.findall(r"([\d,]+) of [\d,]+ tokens/s", first)
    assert 10 < int(one) <= 32  # the last answer's may all count as said in time
    assert 20 < int(two) <= 64
    assert second.startswith("N15  two nodes against one, engines are the limit")


def test_tokens_are_counted_up_to_a_point_in_time() -> None:
    """An answer of 8 tokens in 4 events, of which 3 came; one that showed nothing; one that came later."""
    early = Sample(0.0, 0.0, [1.0, 2.0, 3.0, 4.0], ended=4.0, output_tokens=8)
    silent = Sample(0.0, 0.0, [], ended=1.0, output_tokens=1)
    late = Sample(0.0, 0.0, [9.0], ended=9.0, output_tokens=5)
    assert tokens_by([early, silent, late], 3.0) == 6.0


def run_of(*samples: Sample) -> Run:
    return Run(0.0, list(samples), 0.0)


RESULT = {
    "output_throughput": 100.0,
    "server_cpu_us_per_token": 50.0,
    "store_cpu_us_per_token": 10.0,
    "client_cpu_share": 0.02,
}


def test_with_slots_the_speed_is_that_of_the_time_in_which_turns_were_sent() -> None:
    """1,000 tokens in two seconds, and 500 behind them; shares are those of that speed."""
    run = run_of(
        Sample(0.0, 0.0, [1.0, 2.0], ended=2.0, output_tokens=1000),
        Sample(1.0, 1.0, [3.0], ended=3.0, output_tokens=500),
    )
    found = part(RESULT, run, argparse.Namespace(slots=2, seconds=2.0))
    assert (found.speed, found.node, found.redis, found.client) == pytest.approx((500.0, 0.02, 0.005, 0.1))


def test_without_slots_the_speed_is_that_of_the_whole_run() -> None:
    run = run_of(Sample(0.0, 0.0, [1.0], ended=1.0, output_tokens=1000))
    assert part(RESULT, run, argparse.Namespace(slots=0, seconds=2.0)).speed == 100.0


def test_a_run_with_a_failed_turn_has_no_speed() -> None:
    run = run_of(Sample(0.0, 0.0, [], ended=0.1, error="error overloaded"))
    with pytest.raises(TurnFailed, match="overloaded"):
        part(RESULT, run, argparse.Namespace(slots=2, seconds=2.0))


def test_the_summary_of_several_nodes_adds_up_their_speeds() -> None:
    parts = [Part(1000.0, 0.15, 0.05, 0.04), Part(990.0, 0.16, 0.06, 0.05)]
    given = argparse.Namespace(slots=50, rate=20.0, tokens=101)
    assert nodes_summary(parts, given) == (
        "1,990 of 2,020 tokens/s (of a core: nodes 15% 16%, Redis 6%, clients 4% 5%)"
    )


def test_a_redis_for_several_listens() -> None:
    with scratch() as folder, redis(folder) as (url, running):
        assert url == f"unix://{folder}/redis.sock"
        assert "redis-server" in table()[running.pid].command
