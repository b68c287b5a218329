from __future__ import annotations

import random
import re

import pytest

from engine.demo.corpus.phrase import Grammar, parse, say

PLAIN = Grammar({})


def test_says_every_choice() -> None:
    said = {say(random.Random(seed), "[Hi|Hello][, {name}|]!", {"name": "Ada"}) for seed in range(50)}
    assert said == {"Hi!", "Hello!", "Hi, Ada!", "Hello, Ada!"}


def test_top_level_bars_are_a_choice() -> None:
    said = {say(random.Random(seed), "Yes.|No.", {}) for seed in range(20)}
    assert said == {"Yes.", "No."}


@pytest.mark.parametrize("phrase", ["[Hi", "Hi]", "Hi [a|b", "{name", "Hi } there"])
def test_refuses_an_unbalanced_phrase(phrase: str) -> None:
    with pytest.raises(ValueError, match=r"phrase|closed"):
        parse(phrase)


def test_accepts_what_it_says() -> None:
    assert PLAIN.accepts("[Hi|Hello] {name}!", "Hello Ada!", {"name": "Ada"})


def test_refuses_another_value() -> None:
    assert not PLAIN.accepts("[Hi|Hello] {name}!", "Hello Eva!", {"name": "Ada"})


def test_refuses_a_tail() -> None:
    assert not PLAIN.accepts("[Hi|Hello]!", "Hello! Hello!")


def test_a_free_slot_takes_any_run_of_text() -> None:
    assert PLAIN.accepts("Hi {name}!", "Hi Anna Maria!")


def test_a_slot_is_filled_alike_everywhere() -> None:
    assert PLAIN.accepts("{hero} met {friend}. {hero} left.", "Ada met Eva. Ada left.")
    assert not PLAIN.accepts("{hero} met {friend}. {hero} left.", "Ada met Eva. Ida left.")


def test_a_pattern_bounds_its_slot() -> None:
    numbers = Grammar({"list": re.compile(r"\d+(, \d+)*")})
    assert numbers.accepts("{list}.", "1, 2, 3.")
    assert not numbers.accepts("{list}.", "1, two, 3.")
