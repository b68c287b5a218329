"""How long prompts and answers are: `128`, `uniform:10,50`, `normal:64,16` (mean, deviation), `lognormal:64,0.5`
(median, sigma). Pure; `rng` is a seeded generator."""

import math
import random
from collections.abc import Callable

import msgspec

DRAWS: dict[str, Callable[[random.Random, float, float], float]] = {
    "fixed": lambda rng, value, _: value,
    "uniform": lambda rng, low, high: rng.randint(int(low), int(high)),
    "normal": lambda rng, mean, deviation: rng.normalvariate(mean, deviation),
    "lognormal": lambda rng, median, sigma: rng.lognormvariate(math.log(median), sigma),
}


class Length(msgspec.Struct, frozen=True):
    """A distribution of whole numbers from 1."""

    kind: str
    first: float
    second: float = 0.0

    def draw(self, rng: random.Random) -> int:
        """Draw the next length, at least 1."""
        return max(1, round(DRAWS[self.kind](rng, self.first, self.second)))


def parse(text: str) -> Length:
    """Read one, as the command line has it. Raises ValueError with a sentence."""
    kind, found, rest = text.partition(":")
    kind, rest = (kind, rest) if found else ("fixed", kind)
    try:
        numbers = [float(part) for part in rest.split(",")]
    except ValueError:
        numbers = []
    if kind not in DRAWS or len(numbers) != (1 if kind == "fixed" else 2) or not _sensible(kind, numbers):
        raise ValueError(
            f"'{text}' is not a length: 128, uniform:LOW,HIGH, normal:MEAN,DEVIATION, lognormal:MEDIAN,SIGMA"
        )
    return Length(kind, *numbers)


def _sensible(kind: str, numbers: list[float]) -> bool:
    if numbers[0] < 1 or not all(math.isfinite(number) and number >= 0 for number in numbers):
        return False
    return kind != "uniform" or numbers[0] <= numbers[1]
