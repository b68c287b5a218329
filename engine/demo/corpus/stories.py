"""Stories with one hero each, told sentence by sentence from a few plots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.demo.corpus.asked import Asked
from engine.demo.corpus.texts import read, words

if TYPE_CHECKING:
    import random

TEXTS = read("stories")
PLOT = "plot "
PLOTS = {heading.removeprefix(PLOT): " ".join(lines) for heading, lines in TEXTS.items() if heading.startswith(PLOT)}
ANIMALS, PLACES, THINGS = (words(TEXTS[heading]) for heading in ("animals", "places", "things"))
FRIENDS = TEXTS["friends"]


def any_of(choice: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(choice, key=len, reverse=True)))


PATTERNS = {"place": any_of(PLACES), "thing": any_of(THINGS), "friend": any_of(list(FRIENDS))}


def plot(*episodes: str) -> str:
    opening, bridge, ending = (" ".join(TEXTS[part]) for part in ("opening", "bridge", "ending"))
    return f"{opening} {f' {bridge} '.join(PLOTS[episode] for episode in episodes)} {ending}"


SHORT = [plot(episode) for episode in PLOTS]
LONG = [plot(first, second) for first in PLOTS for second in PLOTS if first != second]


@dataclass(frozen=True)
class Wish:
    """A way of asking for a story."""

    asked: Asked
    long: bool
    given: tuple[str, ...]  # the slots that the user settles


def _wish(heading: str, *given: str, long: bool = False) -> Wish:
    return Wish(Asked.split(TEXTS[f"asked {heading}"]), long, given)


ANY = _wish("story")
ABOUT_ME = _wish("story me", "hero")
WISHES = (
    ANY,
    _wish("story about", "kind", "a_kind"),
    _wish("story named", "hero", "kind", "a_kind"),
    ABOUT_ME,
    _wish("story long", long=True),
    _wish("story long about", "kind", "a_kind", long=True),
)


def cast(rng: random.Random, hero: str, kind: str) -> dict[str, str]:
    """Who and what a story is about."""
    return {
        "hero": hero,
        "kind": kind,
        "a_kind": f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}",
        "place": rng.choice(PLACES),
        "thing": rng.choice(THINGS),
        "friend": rng.choice(FRIENDS),
    }
