"""What is left of a replayed answer."""

import pytest

from engine.base import CannotContinue, Channel, Delta, Said, ToolCall
from engine.unsaid import unsaid

TEXT, REASONING, TOOL = Channel.TEXT, Channel.REASONING, Channel.TOOL
LOOK = Delta(TOOL, "{", ToolCall(0, "call_0", "look"))
SEE = Delta(TOOL, "[", ToolCall(1, "call_1", "see"))
REPLAYED = [
    Delta(REASONING, "hm"),
    Delta(REASONING, "mm"),
    Delta(TEXT, "Hal"),
    Delta(TEXT, "lo"),
    LOOK,
    Delta(TOOL, "}"),
    SEE,
    Delta(TOOL, "]"),
]


def test_the_whole_answer_when_nothing_was_shown() -> None:
    assert unsaid(REPLAYED, Said()) == REPLAYED


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        (Said(reasoning="hmm"), [Delta(REASONING, "m"), *REPLAYED[2:]]),
        (Said(reasoning="hmmm", text="Hal"), REPLAYED[3:]),
        (Said(reasoning="hmmm", text="Hallo", calls=1), [Delta(TOOL, "{"), *REPLAYED[5:]]),
        (Said(reasoning="hmmm", text="Hallo", calls=1, arguments="{"), REPLAYED[5:]),
        (Said(reasoning="hmmm", text="Hallo", calls=2, arguments="["), REPLAYED[7:]),
        (Said(reasoning="hmmm", text="Hallo", calls=2, arguments="[]"), []),
    ],
)
def test_the_rest_of_a_partly_shown_answer(said: Said, rest: list[Delta]) -> None:
    assert unsaid(REPLAYED, said) == rest


@pytest.mark.parametrize(
    "said",
    [
        Said(text="Hello"),
        Said(text="Hallo!"),
        Said(reasoning="no"),
        Said(calls=3),
        Said(calls=1, arguments="["),
        Said(calls=2, arguments="[]]"),
    ],
)
def test_shown_text_that_the_replay_does_not_begin_with_is_refused(said: Said) -> None:
    with pytest.raises(CannotContinue):
        unsaid(REPLAYED, said)
