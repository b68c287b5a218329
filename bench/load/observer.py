"""Fills the sample of one running turn from its events, and wakes whoever waits for its end."""

import asyncio

from bench.load.events import EventKind, ParsedEvent
from bench.load.sample import Sample


class TurnFailed(Exception):  # noqa: N818
    """A turn that failed; errors are counted by `kind`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class TurnObserver:
    """Collects the events of one turn."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.texts: list[str] = []
        self.id: str | None = None  # of the response, once it is known
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self.texts)

    async def wait_ended(self) -> None:
        """Return when it has ended; a cancelled wait leaves it open, so that it can still be said why."""
        await asyncio.wait({self.done})

    def observe(self, event: ParsedEvent, now: float) -> None:
        """Record an event that arrived at `now`."""
        self.id = event.id or self.id
        if event.kind is EventKind.TEXT:
            self.sample.stamps.append(now)
            self.texts.append(event.text)
        elif event.kind is EventKind.END:
            self.sample.input_tokens = event.input_tokens or 0
            self.sample.output_tokens = event.output_tokens or 0
            self._end(now)
        elif event.kind is EventKind.ERROR:
            self.fail(event.reason, now)

    def fail(self, kind: str, now: float) -> None:
        """It will not end well; the first reason counts."""
        if not self.done.done():
            self.sample.error = kind
            self._end(now)

    def _end(self, now: float) -> None:
        if not self.done.done():
            self.sample.ended = now
            self.done.set_result(None)
