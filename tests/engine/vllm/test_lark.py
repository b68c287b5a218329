"""Structural tags in llguidance's words, followed by llguidance itself on bytes."""

import importlib.util
from typing import Any

import pytest

from engine.vllm.lark import LarkGrammar, Untranslatable
from tests.engine.real import require_vllm

if importlib.util.find_spec("llguidance") is not None:
    from llguidance import LLMatcher, LLTokenizer

pytestmark = pytest.mark.vllm
NUMBER = {"type": "json_schema", "json_schema": {"type": "integer"}, "style": "json"}


@pytest.fixture(scope="module", autouse=True)
def _vllm() -> None:
    require_vllm()


def tag(name: str, content: Any = NUMBER) -> dict[str, Any]:
    return {"type": "tag", "begin": f"<call={name}>", "content": content, "end": "</call>"}


def separated(**others: Any) -> dict[str, Any]:
    return {"type": "tags_with_separator", "tags": [tag("a"), tag("b")], "separator": ",", **others}


def triggered(**others: Any) -> dict[str, Any]:
    return {"type": "triggered_tags", "triggers": ["<call="], "tags": [tag("a"), tag("b")], **others}


def accepts(format: dict[str, Any], text: str, instead: dict[str, Any] | None = None) -> bool:
    said = LarkGrammar({}, flexible_whitespace=False).of_tag({"format": format}, instead)
    grammar = LLMatcher.grammar_from_lark(said)
    tokenizer = LLTokenizer("byte")
    assert LLMatcher.validate_grammar(grammar, tokenizer) == ""
    matcher = LLMatcher(tokenizer, grammar)
    tokens = tokenizer.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


ONE, TWO = "<call=a>1</call>", "<call=a>1</call>,<call=b>22</call>"


@pytest.mark.parametrize(
    ("format", "yes", "no"),
    [
        (separated(at_least_one=True), [ONE, TWO], ["", "x", "<call=c>1</call>", "<call=a>x</call>", ONE + ","]),
        (separated(at_least_one=True, stop_after_first=True), [ONE], ["", TWO]),
        (separated(), ["", ONE, TWO], ["x"]),
        (triggered(), ["", "words", ONE, f"so {ONE} and {ONE} it is", "<cal"], ["<call=c>", "x <call=a>y</call>"]),
        (triggered(at_least_one=True), [ONE, f"so {ONE} yes"], ["", "words"]),
        (triggered(stop_after_first=True), ["words", f"so {ONE}"], [ONE + ONE]),
        ({"type": "const_string", "value": 'a "b"\n\\ü'}, ['a "b"\n\\ü'], ["a"]),
        ({"type": "sequence", "elements": [{"type": "regex", "pattern": "[a/]+"}, NUMBER]}, ["a/7"], ["7"]),
        ({"type": "or", "elements": [tag("a"), {"type": "const_string", "value": "no"}]}, [ONE, "no"], ["yes"]),
        ({"type": "optional", "content": tag("a")}, ["", ONE], [ONE + ONE]),
        ({"type": "plus", "content": tag("a")}, [ONE, ONE + ONE], [""]),
        ({"type": "star", "content": tag("a")}, ["", ONE + ONE], ["x"]),
    ],
)
def test_it_takes_what_the_tag_takes(format: dict[str, Any], yes: list[str], no: list[str]) -> None:
    assert [accepts(format, text) for text in yes] == [True] * len(yes)
    assert [accepts(format, text) for text in no] == [False] * len(no)


def test_an_answer_may_be_in_json_instead() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "null"}}, "required": ["x"], "additionalProperties": False}
    assert accepts(separated(at_least_one=True), '{"x":null}', schema)
    assert accepts(separated(at_least_one=True), ONE, schema)
    assert not accepts(separated(at_least_one=True), "words", schema)


def test_a_token_that_no_text_stands_for_is_named_by_its_number() -> None:
    special = {"<call=": 7, "</call>": 8}
    text = LarkGrammar(special, flexible_whitespace=False).of_tag({"format": triggered()})
    assert "<[7]>" in text
    assert "<[8]>" in text
    assert "<[" not in LarkGrammar(special, flexible_whitespace=False, as_text=True).of_tag({"format": triggered()})


@pytest.mark.parametrize(
    "format",
    [
        {"type": "any_text"},
        {"type": "dispatch"},
        tag("a", {**NUMBER, "style": "qwen_xml"}),
        {**triggered(), "tags": []},
        {"type": "token", "token": "<none>"},
    ],
)
def test_what_cannot_be_said_is_no_grammar(format: dict[str, Any]) -> None:
    with pytest.raises(Untranslatable):
        LarkGrammar({}, flexible_whitespace=False).of_tag({"format": format})
