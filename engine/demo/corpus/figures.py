"""Counting and small sums."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from engine.demo.corpus.asked import Asked
from engine.demo.corpus.texts import read

if TYPE_CHECKING:
    import random

LARGEST = 99
TIMES_LARGEST = 12

TEXTS = read("figures")
COUNT_UP, COUNT_TO, COUNT_DOWN = (Asked.split(TEXTS[f"count {way}"]) for way in ("up", "to", "down"))
PLUS, MINUS, TIMES = (Asked.split(TEXTS[operation]) for operation in ("plus", "minus", "times"))
TOO_BIG, DIVIDE = (Asked.split(TEXTS[operation]) for operation in ("too big", "divide"))
COUNTED, SUMMED, TOO_HARD = ("|".join(TEXTS[answer]) for answer in ("counted", "summed", "too hard"))
NUMBER = re.compile(r"\d+")
PATTERNS = {"list": re.compile(r"\d+(, \d+)*"), "sign": re.compile(r"[-+*]"), **dict.fromkeys("abc", NUMBER)}


@dataclass(frozen=True)
class Exercise:
    intent: str
    asked: Asked
    answer: str
    slots: dict[str, str]


def _small(rng: random.Random) -> int:
    return rng.randint(0, rng.choice((10, 20, 50, LARGEST)))


def is_held_out_sum(sign: str, a: int, b: int) -> bool:
    """A tenth of the sums of larger numbers. The tables of small numbers are to be learnt by heart."""
    return max(a, b) > TIMES_LARGEST and crc32(f"{a}{sign}{b}".encode()) % 10 == 0


def _operands(rng: random.Random, sign: str) -> tuple[int, int, int]:
    a, b = _small(rng), _small(rng)
    if sign == "+":
        return a, b, a + b
    if sign == "-":
        return max(a, b), min(a, b), abs(a - b)
    a, b = rng.randint(0, TIMES_LARGEST), rng.randint(0, TIMES_LARGEST)
    return a, b, a * b


def sum_exercise(rng: random.Random, *, held_out: bool) -> Exercise:
    sign, asked = rng.choice((("+", PLUS), ("+", PLUS), ("-", MINUS), ("*", TIMES)))
    while True:
        a, b, c = _operands(rng, sign)
        large = sign != "*" and max(a, b) > TIMES_LARGEST
        if is_held_out_sum(sign, a, b) == (held_out and large):
            return Exercise("sum", asked, SUMMED, {"a": str(a), "b": str(b), "c": str(c), "sign": sign})


def hard_exercise(rng: random.Random) -> Exercise:
    asked = rng.choice((TOO_BIG, DIVIDE))
    least = 1 if asked is DIVIDE else 200
    slots = {slot: str(rng.randint(least, rng.choice((999, 9999, 99999)))) for slot in "ab"}
    return Exercise("too_hard", asked, TOO_HARD, slots)


def count_exercise(rng: random.Random) -> Exercise:
    length = rng.randint(1, rng.choice((8, 8, 12, 20, 30, LARGEST)))
    a = rng.choice((1, rng.randint(0, 20), rng.randint(0, LARGEST - length)))
    a = min(a, LARGEST + 1 - length)
    down = rng.random() < 0.25
    asked = COUNT_DOWN if down else COUNT_TO if a == 1 and length > 1 and rng.random() < 0.7 else COUNT_UP
    numbers = [str(number) for number in range(a, a + length + 1)]
    if down:
        numbers.reverse()
    return Exercise("count", asked, COUNTED, {"a": numbers[0], "b": numbers[-1], "list": ", ".join(numbers)})
