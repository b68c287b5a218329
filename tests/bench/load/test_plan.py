"""What is asked."""

import random

import pytest

from bench.load.lengths import Length, parse
from bench.load.plan import Ask, Session, Shape, conversations, sessions, share, timed

SHAPE = Shape(parse("uniform:2,9"), parse("uniform:5,50"), turns=3)


def plan(shape: Shape = SHAPE, seed: int = 1) -> list[Session]:
    return list(sessions(shape, 5, random.Random(seed)))


def test_sessions_have_their_turns_with_drawn_lengths() -> None:
    drawn = plan()
    assert [len(session.asks) for session in drawn] == [3] * 5
    assert all(2 <= len(ask.text.split()) <= 9 and 5 <= ask.output_tokens <= 50 for s in drawn for ask in s.asks)


def test_equal_seeds_give_equal_plans_and_others_do_not() -> None:
    assert plan() == plan()
    assert plan() != plan(seed=2)


def test_recorded_chats_are_used_round_robin() -> None:
    shape = Shape(parse("1"), Length("fixed", 7), conversations=(("Hi", "Bye"), ("Why?",)))
    hello = Session((Ask("Hi", 7), Ask("Bye", 7)))
    assert plan(shape)[:3] == [hello, Session((Ask("Why?", 7),)), hello]


def test_a_plan_has_as_many_sessions_as_arrival_times() -> None:
    assert [session.at for session in timed(plan(), [0.5, 1.5])] == [0.5, 1.5]


def test_shares_are_disjoint_and_complete() -> None:
    drawn = plan()
    assert sorted(share(drawn, 0, 2) + share(drawn, 1, 2), key=drawn.index) == drawn


def test_conversations_are_read_in_three_forms() -> None:
    messages = '{"messages": [{"role": "user", "content": "C"}, {"role": "assistant", "content": "no"}]}'
    assert conversations(['["A", "B"]', '{"turns": ["D"]}', "", messages]) == (("A", "B"), ("D",), ("C",))


@pytest.mark.parametrize("line", ["x", "[]", "{}", "[1]", "3", '{"messages": [{"content": "A"}]}'])
def test_a_line_without_messages_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 1 holds no user messages"):
        conversations([line])
