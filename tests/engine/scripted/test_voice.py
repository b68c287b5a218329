"""One generation at the clock's ticks: what it says when, and to whom."""

import pytest

from engine.base import Chunk, ChunkSink, Finish, Params
from engine.scripted.answer import Levers, Script, write
from engine.scripted.speech import Speech
from engine.scripted.voice import MOST, Voice

PROMPT = write([{"role": "user", "content": "Say something."}])
RATE = 10.0


class Listener:
    """Takes what it is given, unless it is told not to."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.takes = True

    def __call__(self, chunk: Chunk) -> float | None:
        if not self.takes:
            return None
        self.chunks.append(chunk)
        return 0.0


@pytest.fixture
def listener() -> Listener:
    return Listener()


def voice(take: ChunkSink | None, levers: Levers | None = None, rate: float = RATE) -> Voice:
    """An answer of 200 tokens whose first is due at 100.0."""
    params = Params(max_tokens=200, ignore_eos=True)
    speech = Speech(Script(PROMPT, params, levers or Levers()), params)
    return Voice(speech, levers or Levers(), lambda: rate, index=0, due=100.0, cached=0, take=take)


def counts(listener: Listener) -> list[int]:
    return [len(chunk.token_ids) for chunk in listener.chunks]


def test_one_token_at_its_time(listener: Listener) -> None:
    said = voice(listener)
    assert said.step(100.0) == pytest.approx(100.1)
    assert said.step(100.102) == pytest.approx(100.2)
    assert counts(listener) == [1, 1]
    assert said.left() is None


def test_late_tokens_come_together_and_the_next_keeps_its_time(listener: Listener) -> None:
    said = voice(listener)
    assert said.step(100.35) == pytest.approx(100.4)
    assert counts(listener) == [4]


def test_a_slightly_early_tick_still_yields_its_token(listener: Listener) -> None:
    said = voice(listener)
    assert said.step(99.9995) == pytest.approx(100.1)
    assert counts(listener) == [1]


def test_a_burst_of_late_tokens_is_bounded(listener: Listener) -> None:
    voice(listener).step(100.0 + 2 * MOST / RATE)
    assert counts(listener) == [MOST]


def test_without_a_rate_more_is_due_at_once(listener: Listener) -> None:
    said = voice(listener, rate=0)
    assert said.step(500.0) == 100.0
    assert counts(listener) == [1]


@pytest.mark.parametrize("lever", [Levers(fail=3), Levers(hang=3), Levers(die=3), Levers(exit=3)])
def test_it_stops_before_a_lever_however_late_it_is(listener: Listener, lever: Levers) -> None:
    said = voice(listener, lever)
    assert said.step(101.0) is None
    assert (said.index, said.left()) == (3, None)
    assert counts(listener) == [3]


def test_a_chunk_that_the_sink_refuses_is_delivered_once_by_the_iterator(listener: Listener) -> None:
    said = voice(listener)
    listener.takes = False
    assert said.step(100.0) is None
    left = said.left()
    assert left is not None
    assert len(left.token_ids) == 1
    assert said.left() is None
    listener.takes = True
    assert said.step(100.1) == pytest.approx(100.2)


def test_without_a_sink_all_chunks_come_by_the_iterator() -> None:
    said = voice(None)
    assert said.step(100.0) is None
    assert said.left() is not None


def test_the_last_chunk_is_for_the_iterator(listener: Listener) -> None:
    said = voice(listener)
    while (due := said.step(said.due)) is not None:
        assert due == said.due
    last = said.left()
    assert last is not None
    assert last.finish is Finish.LENGTH
    assert sum(counts(listener)) == 199
