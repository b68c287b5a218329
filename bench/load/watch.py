"""One turn under way: events go in, its sample is filled, whoever waits is told."""

import asyncio

from bench.load.reading import Seen, Sight
from bench.load.sample import Sample


class Failed(Exception):  # noqa: N818
    """A turn that did not end as it should; `kind` is counted."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Watch:
    """Follows one turn."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.texts: list[str] = []
        self.id: str | None = None  # of the response, once it is known
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def text(self) -> str:
        """What was said."""
        return "".join(self.texts)

    async def over(self) -> None:
        """Return when it has ended; a cancelled wait leaves it open, so that it can still be said why."""
        await asyncio.wait({self.done})

    def see(self, seen: Seen, now: float) -> None:
        """An event arrived at `now`."""
        self.id = seen.id or self.id
        if seen.sight is Sight.TEXT:
            self.sample.stamps.append(now)
            self.texts.append(seen.text)
        elif seen.sight is Sight.END:
            self.sample.input_tokens = seen.input_tokens or 0
            self.sample.output_tokens = seen.output_tokens or 0
            self._end(now)
        elif seen.sight is Sight.ERROR:
            self.fail(seen.reason, now)

    def fail(self, kind: str, now: float) -> None:
        """It will not end well; the first reason counts."""
        if not self.done.done():
            self.sample.error = kind
            self._end(now)

    def _end(self, now: float) -> None:
        if not self.done.done():
            self.sample.ended = now
            self.done.set_result(None)
