"""One generation at the clock's ticks: what is due when, and who gets it."""

import pytest

from engine.base import Chunk, ChunkSink, Finish, Params
from engine.scripted.decoder import ScriptDecoder
from engine.scripted.generation import MAX_CHUNK, ScriptedGeneration
from engine.scripted.script import Levers, Script, write

PROMPT = write([{"role": "user", "content": "Say something."}])
RATE = 10.0


class PausableSink:
    """Takes every chunk, unless `takes` is off."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.takes = True

    def try_push(self, chunk: Chunk, /) -> bool:
        if self.takes:
            self.chunks.append(chunk)
        return self.takes

    def merge_until(self) -> float:
        return 0.0


@pytest.fixture
def sink() -> PausableSink:
    return PausableSink()


def generation(sink: ChunkSink | None, levers: Levers | None = None, rate: float = RATE) -> ScriptedGeneration:
    """An answer of 200 tokens whose first is due at 100.0."""
    params = Params(max_tokens=200, ignore_eos=True)
    decoder = ScriptDecoder(Script(PROMPT, params, levers or Levers()), params)
    return ScriptedGeneration(decoder, levers or Levers(), lambda: rate, index=0, due=100.0, cached=0, sink=sink)


def counts(sink: PausableSink) -> list[int]:
    return [len(chunk.token_ids) for chunk in sink.chunks]


def test_one_token_at_its_time(sink: PausableSink) -> None:
    running = generation(sink)
    assert running.step(100.0) == pytest.approx(100.1)
    assert running.step(100.102) == pytest.approx(100.2)
    assert counts(sink) == [1, 1]
    assert running.take_unsent() is None


def test_late_tokens_come_together_and_the_next_keeps_its_time(sink: PausableSink) -> None:
    running = generation(sink)
    assert running.step(100.35) == pytest.approx(100.4)
    assert counts(sink) == [4]


def test_a_tick_that_is_a_little_early_brings_one(sink: PausableSink) -> None:
    running = generation(sink)
    assert running.step(99.9995) == pytest.approx(100.1)
    assert counts(sink) == [1]


def test_no_more_than_so_many_come_together(sink: PausableSink) -> None:
    generation(sink).step(100.0 + 2 * MAX_CHUNK / RATE)
    assert counts(sink) == [MAX_CHUNK]


def test_without_a_rate_more_is_due_at_once(sink: PausableSink) -> None:
    running = generation(sink, rate=0)
    assert running.step(500.0) == 100.0
    assert counts(sink) == [1]


@pytest.mark.parametrize("lever", [Levers(fail=3), Levers(hang=3), Levers(die=3), Levers(exit=3)])
def test_it_stops_before_a_lever_however_late_it_is(sink: PausableSink, lever: Levers) -> None:
    running = generation(sink, lever)
    assert running.step(101.0) is None
    assert (running.index, running.take_unsent()) == (3, None)
    assert counts(sink) == [3]


def test_what_is_not_taken_is_fetched_once(sink: PausableSink) -> None:
    running = generation(sink)
    sink.takes = False
    assert running.step(100.0) is None
    unsent = running.take_unsent()
    assert unsent is not None
    assert len(unsent.token_ids) == 1
    assert running.take_unsent() is None
    sink.takes = True
    assert running.step(100.1) == pytest.approx(100.2)


def test_without_a_sink_everything_is_for_the_iterator() -> None:
    running = generation(None)
    assert running.step(100.0) is None
    assert running.take_unsent() is not None


def test_the_last_chunk_is_for_the_iterator(sink: PausableSink) -> None:
    running = generation(sink)
    while (due := running.step(running.due)) is not None:
        assert due == running.due
    last = running.take_unsent()
    assert last is not None
    assert last.finish is Finish.LENGTH
    assert sum(counts(sink)) == 199
