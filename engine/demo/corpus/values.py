"""Random values for a chat to remember, spelled in millions of ways, so that only copying can give them back.

A tenth of all words, by their hash, is held out: training never sees a value with such a word, however it came about.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

from engine.demo.corpus.texts import read, words

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

TEXTS = read("values")
NAMES, CITIES, COLOURS, FOODS, PETS, SHADES = (
    words(TEXTS[heading]) for heading in ("names", "cities", "colours", "foods", "pets", "shades")
)
CITY_BEGINNINGS, SCRIPTS = words(TEXTS["city beginnings"]), TEXTS["scripts"]
COMMON_WORDS = words(TEXTS["common words"])
ONSETS = [*words(TEXTS["onsets"]), *[""] * 4]
VOWELS = words(TEXTS["vowels"])
CODAS = [*[""] * 48, *words(TEXTS["codas"])]
WORD = re.compile(r"[^\W\d_]+")


def _held_out_words(value: str) -> list[bool]:
    return [crc32(word.lower().encode()) % 10 == 0 for word in WORD.findall(value)]


def is_held_out(value: str) -> bool:
    """Whether any word of the value is: "New Berlin" would give "Berlin" away."""
    return any(_held_out_words(value))


def _syllables(rng: random.Random) -> str:
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count))


def _letters(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 7)))


def _misspelled(rng: random.Random, word: str) -> str:
    at = rng.randrange(len(word))
    change = rng.choice((word[at] * 2, "", rng.choice("aeioubdklmnrst")))
    return word[:at] + change + word[at + 1 :] or word


def _foreign(rng: random.Random) -> str:
    script = rng.choice(SCRIPTS)
    return "".join(rng.choice(script) for _ in range(rng.randint(2, 5))).capitalize()


def _word(rng: random.Random, known: list[str]) -> str:
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(known)
    if kind < 0.45:
        return _misspelled(rng, rng.choice(known))
    if kind < 0.5:
        return _letters(rng).capitalize()
    return _syllables(rng).capitalize()


def _name(rng: random.Random) -> str:
    name = _word(rng, NAMES)
    kind = rng.random()
    if kind < 0.06:
        return f"{name} {_word(rng, NAMES)}"
    if kind < 0.08:
        return f"{name}-{_word(rng, NAMES)}"
    if kind < 0.10:
        return f"{name}{rng.randrange(100)}"
    return _foreign(rng) if kind < 0.13 else name


def _city(rng: random.Random) -> str:
    city = _word(rng, CITIES)
    kind = rng.random()
    if kind < 0.1:
        return f"{rng.choice(CITY_BEGINNINGS)} {city}"
    return _foreign(rng) if kind < 0.12 else city


def _colour(rng: random.Random) -> str:
    kind = rng.random()
    colour = (
        rng.choice(COLOURS) if kind < 0.5 else _misspelled(rng, rng.choice(COLOURS)) if kind < 0.65 else _syllables(rng)
    )
    return f"{rng.choice(SHADES)} {colour}" if rng.random() < 0.15 else colour


def _food(rng: random.Random) -> str:
    return _word(rng, FOODS).lower()


def _pet(rng: random.Random) -> str:
    return _word(rng, PETS)


LISTED: Mapping[str, list[str]] = {"name": NAMES, "city": CITIES, "colour": COLOURS, "food": FOODS, "pet": PETS}
MAKERS: Mapping[str, Callable[[random.Random], str]] = {
    "name": _name,
    "city": _city,
    "colour": _colour,
    "food": _food,
    "pet": _pet,
}


def value(rng: random.Random, kind: str, *, held_out: bool = False) -> str:
    """A value of the kind: every word of it held out, or none."""
    while True:
        made = MAKERS[kind](rng)
        if rng.random() < 0.12:
            made = rng.choice((made.lower(), made.lower(), made.upper()))
        words = _held_out_words(made)
        if words and (all(words) if held_out else not any(words)):
            return made


def listed(rng: random.Random, kind: str) -> str:
    """A value of the kind that training has met thousands of times, as it stands in the list: "Anna", not "Annna"."""
    return rng.choice([each for each in LISTED[kind] if not is_held_out(each)])
