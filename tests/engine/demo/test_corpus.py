from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from engine.demo.corpus import figures, stories
from engine.demo.corpus.asked import careless
from engine.demo.corpus.chat import Chat, Source, chat
from engine.demo.corpus.memory import FACTS
from engine.demo.corpus.phrase import Choice, Slot, parse
from engine.demo.corpus.talk import BEYOND, REPEAT, TOPICS
from engine.demo.corpus.values import LISTED, MAKERS, is_held_out, listed, value
from engine.demo.generate import chats

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.demo.corpus.asked import Asked
    from engine.demo.corpus.phrase import Node

SAMPLE = 400
ASKED = [
    *(asked for fact in FACTS.values() for asked in (fact.told, fact.question)),
    *(topic.asked for topic in (*TOPICS.values(), BEYOND, REPEAT)),
    *(wish.asked for wish in stories.WISHES),
]


@pytest.fixture(scope="module")
def sample() -> list[Chat]:
    return list(islice(chats(7), SAMPLE))


def test_same_seed_same_chats(sample: list[Chat]) -> None:
    assert [made.messages() for made in islice(chats(7), SAMPLE)] == [made.messages() for made in sample]


def test_other_seed_other_chats(sample: list[Chat]) -> None:
    assert [made.messages() for made in islice(chats(8), SAMPLE)] != [made.messages() for made in sample]


def test_every_answer_is_right_and_fluent(sample: list[Chat]) -> None:
    turns = [turn for made in sample for turn in made.turns]
    assert [turn for turn in turns if not turn.is_right(turn.answer)] == []
    assert [turn for turn in turns if not turn.is_fluent(turn.answer)] == []


def test_another_value_is_fluent_but_wrong() -> None:
    made = Chat(Source(random.Random(1)))
    made.tell(["name"])
    made.ask("name")
    other = made.turns[-1].answer.replace(made.facts["name"], "Someone")
    assert made.turns[-1].is_fluent(other)
    assert not made.turns[-1].is_right(other)


def test_a_corrected_value_counts() -> None:
    made = Chat(Source(random.Random(3)))
    made.tell(["city"])
    made.tell(["city"])
    made.ask("city")
    assert made.facts["city"] in made.turns[-1].answer


def test_says_so_when_never_told() -> None:
    made = Chat(Source(random.Random(1)))
    made.ask("colour")
    assert "yet" in made.turns[-1].answer


@pytest.mark.parametrize("kind", MAKERS)
def test_held_out_values_are_disjoint_from_training(kind: str) -> None:
    rng = random.Random(5)
    training = {value(rng, kind).lower() for _ in range(3000)}
    unseen = {value(rng, kind, held_out=True).lower() for _ in range(500)}
    assert not training & unseen
    assert all(map(is_held_out, unseen))


@pytest.mark.parametrize("asked", ASKED)
def test_held_out_phrases_are_disjoint_from_training(asked: Asked) -> None:
    assert asked.held_out
    assert not set(asked.training) & set(asked.held_out)
    assert all(parse(phrase) for phrase in [*asked.training, *asked.held_out])


def test_training_chats_hold_no_held_out_value(sample: list[Chat]) -> None:
    assert not any(is_held_out(told) for made in sample for told in made.facts.values())


def test_held_out_sums_stay_out_of_training() -> None:
    rng = random.Random(2)
    sums = [figures.sum_exercise(rng, held_out=False).slots for _ in range(3000)]
    assert not any(figures.is_held_out_sum(slots["sign"], int(slots["a"]), int(slots["b"])) for slots in sums)


def test_sums_are_correct() -> None:
    rng = random.Random(2)
    for slots in (figures.sum_exercise(rng, held_out=held_out).slots for held_out in (False, True) for _ in range(300)):
        a, b = int(slots["a"]), int(slots["b"])
        assert int(slots["c"]) == {"+": a + b, "-": a - b, "*": a * b}[slots["sign"]]


def test_counts_are_complete() -> None:
    rng = random.Random(2)
    for slots in (figures.count_exercise(rng).slots for _ in range(300)):
        step = 1 if int(slots["b"]) > int(slots["a"]) else -1
        assert slots["list"] == ", ".join(map(str, range(int(slots["a"]), int(slots["b"]) + step, step)))


def test_carelessness_spares_the_slots() -> None:
    rng = random.Random(4)
    assert all("{name}" in careless(rng, "My name is {name}, isn't it?") for _ in range(500))


def test_a_story_keeps_its_hero() -> None:
    made = Chat(Source(random.Random(6)))
    made.story()
    told = made.turns[-1]
    assert "{" not in told.answer
    assert told.is_fluent(told.answer)


def test_long_stories_are_long() -> None:
    rng = random.Random(6)
    source = Source(rng)
    told = [chat(source, turns=1, acts={"story": 1}).turns[0] for _ in range(300)]
    assert all(len(turn.answer.split()) > 130 for turn in told if turn.intent == "long story")


MEMORY = [asked for fact in FACTS.values() for asked in (fact.told, fact.question)]


@pytest.mark.parametrize("asked", MEMORY)
def test_no_held_out_sentence_can_be_said_in_training(asked: Asked) -> None:
    """Not only the phrases: nothing that they can say, however it is typed."""
    assert said_by(asked.held_out) & said_by(asked.training) == set()


def said_by(phrases: Iterable[str]) -> set[str]:
    """Every sentence of these phrases, without case and punctuation."""
    sentences = (sentence for phrase in phrases for sentence in expanded(parse(phrase)))
    return {"".join(letter for letter in each.lower() if letter not in ".!?,:'").strip() for each in sentences}


def expanded(nodes: Sequence[Node]) -> list[str]:
    """All that these nodes can say; a slot says its name."""
    said = [""]
    for node in nodes:
        if isinstance(node, Choice):
            options = [text for option in node.options for text in expanded(option)]
        else:
            options = [f"{{{node.name}}}" if isinstance(node, Slot) else node.text]
        said = [before + text for before in said for text in options]
    return said


@pytest.mark.parametrize("kind", MAKERS)
def test_known_values_stand_in_the_list_and_training_meets_them(kind: str) -> None:
    rng = random.Random(3)
    known = {listed(rng, kind) for _ in range(SAMPLE)}
    met = {value(rng, kind) for _ in range(20 * SAMPLE)}
    assert known <= set(LISTED[kind])
    assert known & met
    assert not any(map(is_held_out, known))
