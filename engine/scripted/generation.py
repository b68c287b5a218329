"""One running generation: what is due at each of the clock's ticks, and whether the sink or the iterator gets it."""

from collections.abc import Callable

from engine.base import Chunk, ChunkSink
from engine.scripted.decoder import ScriptDecoder
from engine.scripted.script import Levers

MAX_CHUNK = 64  # tokens in one chunk of a generation that is late


class ScriptedGeneration:
    """A position in one script. `rate` (tokens per second) is read before each chunk, since it may change."""

    def __init__(
        self,
        decoder: ScriptDecoder,
        levers: Levers,
        rate: Callable[[], float],
        *,
        index: int,
        due: float,
        cached: int,
        sink: ChunkSink | None,
    ) -> None:
        self.index = index  # of the next token
        self.due = due  # loop time of that token
        self._decoder = decoder
        self._stops = levers.stops
        self._rate = rate
        self._cached = cached  # prompt tokens that were in the cache
        self._sink = sink
        self._unsent: Chunk | None = None  # for the iterator: the sink did not take it

    def step(self, now: float) -> float | None:
        """Generate what is due. Returns when more is, or None if the iterator has a chunk to yield or a lever next."""
        rate = self._rate()
        chunk = self._decoder.chunk(self.index, self._count(now, rate), self._cached)
        count = len(chunk.token_ids)
        self.index += count
        self.due += count / rate if rate else 0
        if chunk.finish is not None or self._sink is None or not self._sink.try_push(chunk):
            self._unsent = chunk
            return None
        return None if self.index in self._stops else self.due

    def take_unsent(self) -> Chunk | None:
        """The chunk that the sink did not take; None once it was fetched."""
        chunk, self._unsent = self._unsent, None
        return chunk

    def _count(self, now: float, rate: float) -> int:
        """Tokens that are due: at least one, and none beyond the next lever."""
        late = 1 + int((now - self.due) * rate)
        return (
            1 if late <= 1 else min(late, *(stop - self.index for stop in self._stops if stop > self.index), MAX_CHUNK)
        )
