"""Clients who behave: short chats at a steady pace, each on a socket of its own, while something else happens."""

import asyncio
import contextlib
from collections.abc import Sequence
from time import perf_counter

import msgspec

from bench.load.metrics import percentile
from bench.load.observer import TurnFailed, TurnObserver
from bench.load.sample import Sample
from bench.load.sockets import Lane, open_lanes

STREAMS = 10
PERIOD = 1.0  # seconds between two questions of one stream
TOKENS = 16
PATIENCE = 60.0  # seconds for an answer


class Figures(msgspec.Struct, frozen=True):
    """What they felt in some time. Seconds."""

    asked: int = 0
    ttft: float = 0.0  # p99, from when the question was meant to be sent
    gap: float = 0.0  # p99 between two events of an answer
    failed: list[str] = []  # kinds of errors


class Polite:
    """All streams, and what each of their answers was like."""

    def __init__(self, url: str, streams: int = STREAMS) -> None:
        self._url = url
        self._streams = streams
        self._samples: list[Sample] = []
        self._latest: dict[int, Sample] = {}  # of each stream

    async def run(self) -> None:
        """Until it is cancelled. A stream whose socket ends opens another."""
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(self._streams):
                group.create_task(self._stream(began + PERIOD * index / self._streams, index))

    def figures(self, began: float, ended: float) -> Figures:
        """Of the questions that were due in this time. One that still waits counts with what it has waited by now."""
        samples = [sample for sample in self._samples if began <= sample.intended < ended]
        good = [sample for sample in samples if sample.error is None]
        gaps = [gap for sample in good for gap in sample.gaps]
        ttfts = [sample.ttft if sample.stamps or sample.ended else perf_counter() - sample.intended for sample in good]
        failed = [sample.error for sample in samples if sample.error is not None]
        return Figures(len(samples), percentile(ttfts, 99), percentile(gaps, 99), failed)

    async def settled(self, seconds: float) -> None:
        """Wait until nobody is behind any more, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._behind():  # noqa: ASYNC110 - time alone may change it
                    await asyncio.sleep(PERIOD / 10)

    def _behind(self) -> bool:
        """Whether somebody was due to ask and has not, or waits for longer than until the next question."""
        lately = perf_counter() - PERIOD
        return len(self._latest) < self._streams or any(
            sample.intended < lately - PERIOD or (sample.intended < lately and not sample.ended)
            for sample in self._latest.values()
        )

    async def _stream(self, due: float, index: int) -> None:
        lane: Lane | None = None
        while True:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            sample = Sample(due, perf_counter(), [])
            self._samples.append(sample)
            self._latest[index] = sample
            lane = await self._ask(lane, sample, f"Count from {index} to {index + 9}.")
            due += PERIOD

    async def _ask(self, lane: Lane | None, sample: Sample, text: str) -> Lane | None:
        """One question; the lane for the next one, if it is still good."""
        observer = TurnObserver(sample)
        body = {"type": "response.create", "input": text, "store": False}
        try:
            async with asyncio.timeout(PATIENCE):
                lane = lane or (await open_lanes(self._url, 1, {}))[0]
                await lane.ask(body | {"max_output_tokens": TOKENS, "ignore_eos": True}, observer)
        except (TurnFailed, OSError, TimeoutError) as error:
            observer.fail(type(error).__name__, perf_counter())
            if lane is not None:
                lane.close()
        return lane if lane is not None and lane.usable else None


def worse(hostile: Sequence[Figures], control: Sequence[Figures]) -> tuple[float, float]:
    """By how much they waited longer for the first text and between two: the median of pairs, in seconds."""
    pairs = list(zip(hostile, control, strict=False))  # none without a control
    ttft = percentile([one.ttft - other.ttft for one, other in pairs], 50)
    return ttft, percentile([one.gap - other.gap for one, other in pairs], 50)
