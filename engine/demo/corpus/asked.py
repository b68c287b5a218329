"""What a user writes: phrases in two parts, for training and for examination, with the carelessness of real typing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.demo.corpus.phrase import say

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

HELD_OUT_EVERY = 5
MANNERS = [
    *("Hey, ", "So, ", "Well, ", "Hi! ", "Hello! ", "Please: ", "One question: "),
    *("OK. ", "Thanks. ", "Now, ", "Hm, ", "And ", "Excuse me, ", "I wonder: "),
]
SLOT = re.compile(r"(\{\w+\})")


class Verbatim(dict[str, str]):
    """Slots that say themselves, for filling in later."""

    def __missing__(self, slot: str) -> str:
        return f"{{{slot}}}"


@dataclass(frozen=True)
class Asked:
    """Phrases, each fifth of which is held out from training."""

    training: Sequence[str]
    held_out: Sequence[str]

    @classmethod
    def split(cls, phrases: Sequence[str]) -> Asked:
        held_out = phrases[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
        return cls([phrase for phrase in phrases if phrase not in held_out], held_out)

    def say(self, rng: random.Random, slots: Mapping[str, str], *, held_out: bool = False) -> str:
        manners = rng.choice(MANNERS) if rng.random() < 0.08 else ""
        phrase = rng.choice(self.held_out if held_out else self.training)
        typed = careless(rng, manners + say(rng, phrase, Verbatim()))
        return SLOT.sub(lambda slot: slots[slot[0][1:-1]], typed)


def careless(rng: random.Random, text: str) -> str:
    """The text as somebody types it in a hurry, sometimes. Slots stay as they are."""
    mood = rng.random()
    if mood < 0.35:
        return text
    parts = SLOT.split(text)
    if mood < 0.9:
        parts[0::2] = [part.lower() for part in parts[0::2]]
    if mood > 0.6:
        parts[-1] = parts[-1].rstrip(".!?")
    if mood > 0.75:
        parts[0::2] = [part.replace("'", "").replace(",", "") for part in parts[0::2]]
    if rng.random() < 0.06:
        part = rng.randrange(0, len(parts), 2)
        parts[part] = _mistyped(rng, parts[part])
    return "".join(parts).strip()


def _mistyped(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text)) if text else 0
    if not text[at : at + 2].isalpha():
        return text
    return text[:at] + rng.choice((text[at] * 2, "", text[at + 1 : at + 2] + text[at : at + 1])) + text[at + 1 :]
