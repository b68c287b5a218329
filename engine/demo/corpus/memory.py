"""What there is to say about the five things that the model keeps in mind."""

from __future__ import annotations

from dataclasses import dataclass

from engine.demo.corpus.asked import Asked
from engine.demo.corpus.texts import read

TEXTS = read("memory")
OPERATOR_TELLS = "operator tells "


@dataclass(frozen=True)
class Fact:
    told: Asked  # the user says it
    noted: str  # the answer to that
    question: Asked  # the user wants it back
    known: str  # the answer when it was told
    unknown: str  # the answer when it was not


def _fact(kind: str) -> Fact:
    noted, known, unknown = ("|".join(TEXTS[f"{kind} {part}"]) for part in ("noted", "known", "unknown"))
    return Fact(Asked.split(TEXTS[f"{kind} told"]), noted, Asked.split(TEXTS[f"{kind} question"]), known, unknown)


FACTS = {kind: _fact(kind) for kind in ("name", "city", "colour", "food", "pet")}
CORRECTED = Asked.split(TEXTS["corrected"])
EVERYTHING = Asked.split(TEXTS["everything question"])
NOTHING_KNOWN = "|".join(TEXTS["everything unknown"])
# What the operator's message tells about the user, by the kinds of facts in it.
TOLD_BY_OPERATOR = {
    tuple(heading.removeprefix(OPERATOR_TELLS).split(" and ")): Asked.split(phrases)
    for heading, phrases in TEXTS.items()
    if heading.startswith(OPERATOR_TELLS)
}
