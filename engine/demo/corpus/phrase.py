"""Phrases: sentences with choices and slots, which can be said at random and recognised again.

    [Hi|Hello][, {name}|]!      one of "Hi!", "Hello!", "Hi, Ada!", "Hello, Ada!"

The same grammar writes the training text and judges the model's answers: the judge knows what the data could say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping, Sequence

    Slots = Mapping[str, str]

LONGEST_FREE_SLOT = 60
TOKEN = re.compile(r"\[|\]|\||\{\w+\}|[^\[\]|{}]+")


@dataclass(frozen=True)
class Words:
    text: str


@dataclass(frozen=True)
class Slot:
    name: str


@dataclass(frozen=True)
class Choice:
    options: tuple[tuple[Node, ...], ...]


Node: TypeAlias = Words | Slot | Choice


@cache
def parse(phrase: str) -> tuple[Node, ...]:
    tokens = TOKEN.findall(phrase)
    if "".join(tokens) != phrase:
        raise ValueError(f"stray brace in phrase {phrase!r}")
    whole, rest = _choice([*tokens, "]"], 0)
    if rest != len(tokens) + 1:
        raise ValueError(f"unbalanced phrase {phrase!r}")
    return (whole,)


def _sequence(tokens: Sequence[str], at: int) -> tuple[tuple[Node, ...], int]:
    nodes: list[Node] = []
    while at < len(tokens) and tokens[at] not in "|]":
        if tokens[at] == "[":
            choice, at = _choice(tokens, at + 1)
            nodes.append(choice)
            continue
        token = tokens[at]
        nodes.append(Slot(token[1:-1]) if token.startswith("{") else Words(token))
        at += 1
    return tuple(nodes), at


def _choice(tokens: Sequence[str], at: int) -> tuple[Choice, int]:
    options = []
    while True:
        option, at = _sequence(tokens, at)
        options.append(option)
        if at == len(tokens):
            raise ValueError("a choice is not closed")
        if tokens[at] == "]":
            return Choice(tuple(options)), at + 1
        at += 1


def say(rng: random.Random, phrase: str, slots: Mapping[str, str]) -> str:
    return "".join(_spoken(rng, parse(phrase), slots))


def _spoken(rng: random.Random, nodes: Sequence[Node], slots: Mapping[str, str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Words):
            yield node.text
        elif isinstance(node, Slot):
            yield slots[node.name]
        else:
            yield from _spoken(rng, rng.choice(node.options), slots)


@dataclass(frozen=True)
class Grammar:
    """Recognises phrases. A slot is filled by what its pattern matches, or, having none, by any short run of text;
    a slot that occurs twice is filled alike."""

    patterns: Mapping[str, re.Pattern[str]]

    def accepts(self, phrase: str, text: str, slots: Mapping[str, str] | None = None) -> bool:
        return any(end == len(text) for end, _ in self._sequence(parse(phrase), text, 0, slots or {}))

    def _sequence(self, nodes: Sequence[Node], text: str, at: int, slots: Slots) -> Iterator[tuple[int, Slots]]:
        if not nodes:
            yield at, slots
            return
        for end, known in self._node(nodes[0], text, at, slots):
            yield from self._sequence(nodes[1:], text, end, known)

    def _node(self, node: Node, text: str, at: int, slots: Slots) -> Iterator[tuple[int, Slots]]:
        if isinstance(node, Choice):
            for option in node.options:
                yield from self._sequence(option, text, at, slots)
        elif isinstance(node, Slot):
            for words in self._fillings(node.name, text, at, slots):
                yield at + len(words), {**slots, node.name: words}
        elif text.startswith(node.text, at):
            yield at + len(node.text), slots

    def _fillings(self, name: str, text: str, at: int, slots: Slots) -> Iterator[str]:
        if name in slots:
            if text.startswith(slots[name], at):
                yield slots[name]
        elif pattern := self.patterns.get(name):
            if found := pattern.match(text, at):
                yield found[0]
        else:
            line = text[at : at + LONGEST_FREE_SLOT].partition("\n")[0]
            yield from (line[:length] for length in range(1, len(line) + 1))
