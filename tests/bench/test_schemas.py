from bench.schemas.__main__ import depends_on_order
from bench.schemas.judge import Outcome, Verdict, judge_answer, judge_refusal
from bench.schemas.table import Case, cases

FOLLOWED = Case("a", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
REFUSED = Case("b", {"not": {}}, "not")
TOP = Case("c", {"$ref": "#"}, "")


def test_names_are_unique() -> None:
    assert len({case.name for case in cases()}) == len(cases()) > 200


def test_an_answer_is_valid_cut_or_loose() -> None:
    assert judge_answer(FOLLOWED, '{"a": 1}', whole=True).outcome is Outcome.VALID
    assert judge_answer(FOLLOWED, '{"a": ', whole=False).outcome is Outcome.CUT
    assert judge_answer(FOLLOWED, '{"a": ', whole=True).outcome is Outcome.LOOSE
    assert judge_answer(FOLLOWED, '{"a": "x"}', whole=True).outcome is Outcome.LOOSE
    assert judge_answer(REFUSED, "1", whole=True).outcome is Outcome.LOOSE


def test_a_refusal_has_to_name_what_it_is_about() -> None:
    assert judge_refusal(REFUSED, "text.format.schema.not", "").outcome is Outcome.REFUSED
    assert judge_refusal(TOP, "text.format.schema", "").outcome is Outcome.REFUSED
    assert judge_refusal(REFUSED, "text.format.schema.n…", "").outcome is Outcome.REFUSED
    assert judge_refusal(REFUSED, "text.format.schema.o…", "").outcome is Outcome.WRONG
    assert judge_refusal(REFUSED, "text…", "").outcome is Outcome.WRONG
    assert judge_refusal(REFUSED, "input", "").outcome is Outcome.WRONG
    assert judge_refusal(REFUSED, None, "").outcome is Outcome.WRONG
    assert judge_refusal(FOLLOWED, "text.format.schema", "").outcome is Outcome.WRONG


def test_followed_and_then_refused_depends_on_the_order() -> None:
    valid, cut, refused = (Verdict("a", each) for each in (Outcome.VALID, Outcome.CUT, Outcome.REFUSED))
    assert depends_on_order([{"a": valid}, {"a": cut}]) == []
    assert depends_on_order([{"a": valid}, {"a": refused}]) == ["a"]
