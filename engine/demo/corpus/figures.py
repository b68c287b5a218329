"""Counting and small sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from engine.demo.corpus.asked import Asked

if TYPE_CHECKING:
    import random

LARGEST = 99
TIMES_LARGEST = 12

COUNT_UP = Asked("""
    Count from {a} to {b}.
    [Please |Can you |Could you ]count from {a} to {b}.
    Count up from {a} to {b}.
    [Give me|List|Say] the numbers from {a} to {b}.
    Count {a} to {b}.
    [I want you to|Would you] count from {a} to {b}[, please|].
    [Write|Print|Type] the numbers from {a} to {b}.
    Start at {a} and count to {b}.
    Counting from {a} to {b}, please.
    Now count from {a} to {b}.
    Count numbers {a} - {b}.
    [What are|Show me] the numbers from {a} to {b}?
""")
COUNT_TO = Asked("""
    Count to {b}.
    [Please |Can you |Could you ]count to {b}.
    Count up to {b}.
    [Can you|Could you] count up to {b}?
    Now count to {b}.
    Let me see you count to {b}.
    Count [for me |]to {b}, please.
    I want you to count to {b}.
""")
COUNT_DOWN = Asked("""
    Count from {a} to {b}.
    Count down from {a} to {b}.
    Count backwards from {a} to {b}.
    [Please |Can you |Could you ]count [down|backwards] from {a} to {b}.
    Count from {a} down to {b}.
    Count back from {a} to {b}.
""")
PLUS = Asked("""
    What is {a} + {b}?
    What's {a} plus {b}?
    {a} + {b}
    {a}+{b}
    [Add|Sum] {a} and {b}.
    How much is {a} + {b}?
    What is {a} plus {b}?
    {a} plus {b}
    {a} + {b} = ?
    Calculate {a} + {b}.
    {a}+{b}=
    What is the sum of {a} and {b}?
    [Can you|Please] add {a} and {b}[?|.]
    What's {a}+{b}?
    Compute {a} plus {b}.
""")
MINUS = Asked("""
    What is {a} - {b}?
    What's {a} minus {b}?
    {a} - {b}
    {a}-{b}
    Subtract {b} from {a}.
    How much is {a} - {b}?
    What is {a} minus {b}?
    {a} minus {b}
    {a} - {b} = ?
    Calculate {a} - {b}.
    {a}-{b}=
    Take {b} away from {a}.
    [Can you|Please] subtract {b} from {a}[?|.]
    What's {a}-{b}?
    Compute {a} minus {b}.
""")
TIMES = Asked("""
    What is {a} * {b}?
    What's {a} times {b}?
    {a} * {b}
    {a}*{b}
    Multiply {a} by {b}.
    How much is {a} x {b}?
    What is {a} times {b}?
    {a} times {b}
    {a} x {b} = ?
    Calculate {a} * {b}.
    {a}*{b}=
    What is the product of {a} and {b}?
    [Can you|Please] multiply {a} by {b}[?|.]
    What's {a}x{b}?
    Compute {a} times {b}.
""")
TOO_BIG = Asked("""
    What is {a} [+|-|*|/] {b}?
    {a} [+|-|*|/] {b}
    {a}[+|-|*|/]{b}
    What's {a} [plus|minus|times|divided by] {b}?
    Calculate {a} [+|-|*|/|times] {b}.
    How much is {a} [+|-|*|/|x] {b}?
""")
DIVIDE = Asked("""
    What is [the square root of {a}|{a} / {b}|{a} divided by {b}|{a} squared|{a} percent of {b}]?
    What's [{a} / {b}|{a} divided by {b}|half of {a}|the root of {a}]?
    [{a} / {b}|{a}/{b}|{a} : {b}]
    Divide {a} by {b}.
    How much is {a} / {b}?
""")

COUNTED = "{list}."
SUMMED = "{a} {sign} {b} = {c}.|{a} {sign} {b} is {c}."
TOO_HARD = "That is too hard for me: I only add, subtract and multiply small numbers. A real model does better: make serve MODEL=Qwen/Qwen3-0.6B"


@dataclass(frozen=True)
class Exercise:
    intent: str
    asked: Asked
    answer: str
    slots: dict[str, str]


def _small(rng: random.Random) -> int:
    return rng.randint(0, rng.choice((10, 20, LARGEST)))


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
    length = rng.randint(1, rng.choice((8, 12, 20, 40)))
    a = rng.choice((1, rng.randint(0, 20), rng.randint(0, LARGEST - length)))
    a = min(a, LARGEST + 1 - length)
    down = rng.random() < 0.25
    asked = COUNT_DOWN if down else COUNT_TO if a == 1 and length > 1 and rng.random() < 0.7 else COUNT_UP
    numbers = [str(number) for number in range(a, a + length + 1)]
    if down:
        numbers.reverse()
    return Exercise("count", asked, COUNTED, {"a": numbers[0], "b": numbers[-1], "list": ", ".join(numbers)})
