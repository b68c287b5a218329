"""When sessions begin, in seconds after the start of the measurement. Pure; `rng` is a seeded generator."""

import itertools
import random
from collections.abc import Iterable, Iterator

import msgspec


class BadTrace(ValueError):  # noqa: N818 - told to people as it is
    """A trace that cannot be replayed."""


def gamma(rate: float, burstiness: float, rng: random.Random) -> Iterator[float]:
    """Gamma-distributed gaps of mean `1/rate`: burstiness 1 is a Poisson process, below it comes in bursts."""
    at = 0.0
    while True:
        at += rng.gammavariate(burstiness, 1 / (rate * burstiness))
        yield at


def constant(rate: float) -> Iterator[float]:
    """Every `1/rate` seconds, from the first on."""
    return (index / rate for index in itertools.count())


def trace(lines: Iterable[str], speed: float = 1.0) -> list[float]:
    """Points in time of a recorded trace, beginning with 0 and played `speed` times as fast.

    A line is a number of seconds, or an object with one under `timestamp`. Raises BadTrace with the line's number.
    """
    points = [_point(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not points:
        raise BadTrace("the trace has no lines")
    first = min(points)
    return sorted((point - first) / speed for point in points)


def _point(number: int, line: str) -> float:
    try:
        value = msgspec.json.decode(line)
        return float(value["timestamp"] if isinstance(value, dict) else value)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        raise BadTrace(f"line {number} of the trace has no timestamp: {line.strip()[:80]}") from None
