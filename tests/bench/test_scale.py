"""When tokens were due, and what a node adds."""

import argparse

import pytest
import uvloop

from bench.launch import scratch
from bench.load.sample import Sample
from bench.scale import Crowd, delays, ends, enough, line, main, node, redis, streams

pytestmark = pytest.mark.redis


def test_syllables_are_tokens_and_characters_are_several() -> None:
    """`é` has two bytes, the last of which shows it."""
    assert list(ends(["ba ko", "", "é\n", "ne"])) == [(0, 0), (0, 1), (2, 3), (2, 4), (3, 5)]


def test_other_text_is_refused() -> None:
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
def test_the_line_judges(late: list[float], errors: list[str], word: str) -> None:
    crowd = Crowd(30.0, 10)
    crowd.seen.asked, crowd.seen.best, crowd.errors = late, late, errors
    assert f"({word}" in line(2, crowd, 10.0)


def test_no_more_is_planned_than_could_be_said() -> None:
    """A plan of a million answers takes longer to draw and to hand over than most measurements."""
    assert enough(0.5, 20) == 5000
    assert enough(15.0, 150) == 20_000


def test_streams_of_a_real_node() -> None:
    given = argparse.Namespace(rate=50.0, tokens=25, seconds=1.0)
    with scratch() as folder, node(folder, "n", ["--scripted-rate", "50", "--scripted-slots", "3"]) as (url, running):
        told = uvloop.run(streams(url, running.pid, 3, given))
    assert "failed" not in told
    assert int(told.split()[2]) >= 3 * 25


def test_two_real_nodes_share_a_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes", "--streams", "2", "--seconds", "0.5", "--tokens", "20", "--rounds", "1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("one node ")
    assert second.startswith("N15")


def test_a_redis_for_several_listens() -> None:
    with scratch() as folder, redis(folder) as url:
        assert url == f"unix://{folder}/redis.sock"
