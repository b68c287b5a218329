"""Small talk, and what the model knows about the program that serves it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.demo.corpus.asked import Asked
from engine.demo.corpus.texts import read

TEXTS = read("talk")


@dataclass(frozen=True)
class Topic:
    asked: Asked
    answer: str


def _topic(name: str) -> Topic:
    return Topic(Asked.split(TEXTS[f"{name} asked"]), "|".join(TEXTS[f"{name} answer"]))


BEYOND = _topic("beyond")
REPEAT = _topic("repeat")
OPERATOR = Asked.split(TEXTS["operator"])
TOPICS = {
    name: _topic(name)
    for name in (heading.removesuffix(" asked") for heading in TEXTS if heading.endswith(" asked"))
    if name not in ("beyond", "repeat")
}
# Topics that may follow when the user has just told something.
QUESTIONS = [topic for name, topic in TOPICS.items() if name not in ("greeting", "bye", "chatter")]
