"""One generation under way: what it says at each of the clock's ticks, and to whom."""

from collections.abc import Callable

from engine.base import Chunk, ChunkSink
from engine.scripted.answer import Levers
from engine.scripted.speech import Speech

MOST = 64  # tokens in one chunk, of an answer that is late


class Voice:
    """A place in one answer. `rate` is asked for before each token, since it may change."""

    def __init__(
        self,
        speech: Speech,
        levers: Levers,
        rate: Callable[[], float],
        *,
        index: int,
        due: float,
        cached: int,
        sink: ChunkSink | None,
    ) -> None:
        self.index = index  # of the next token
        self.due = due  # when it is, in the clock's time
        self._speech = speech
        self._stops = levers.stops
        self._rate = rate
        self._cached = cached  # tokens of the prompt
        self._sink = sink
        self._left: Chunk | None = None  # said, and for the iterator

    def step(self, now: float) -> float | None:
        """Say what is due. When more is; None where the iterator has to go on: with a chunk, or before a lever."""
        rate = self._rate()
        chunk = self._speech.say(self.index, self._count(now, rate), self._cached)
        said = len(chunk.token_ids)
        self.index += said
        self.due += said / rate if rate else 0
        if chunk.finish is not None or self._sink is None or not self._sink.try_push(chunk):
            self._left = chunk
            return None
        return None if self.index in self._stops else self.due

    def left(self) -> Chunk | None:
        """What was not taken, once."""
        chunk, self._left = self._left, None
        return chunk

    def _count(self, now: float, rate: float) -> int:
        """How many tokens are due, at least one, and none behind a lever."""
        late = 1 + int((now - self.due) * rate)
        return 1 if late <= 1 else min(late, *(stop - self.index for stop in self._stops if stop > self.index), MOST)
