"""Every keyword with a value of every wrong kind: refused by its path, or followed; never an error of ours."""

import itertools
import json
from typing import Any

import pytest

from engine.base import BadParameter
from engine.scripted.example import example

WORDS = """
    $ref $defs definitions $schema $id $anchor $comment $dynamicRef type enum const properties required
    additionalProperties patternProperties propertyNames minProperties maxProperties items prefixItems additionalItems
    contains minContains maxContains minItems maxItems uniqueItems minLength maxLength pattern format minimum maximum
    exclusiveMinimum exclusiveMaximum multipleOf anyOf allOf oneOf not if then else dependentRequired dependentSchemas
    dependencies unevaluatedProperties unevaluatedItems title description default examples deprecated
"""
VALUES: list[Any] = [None, True, False, 0, -1, 7, 7.5, 1e300, 10**400, "", "x", "#", "[", "string", [], [1], ["a", "a"]]
VALUES += [
    [None],
    [{}],
    [[]],
    {},
    {"a": 1},
    {"a": None},
    {"a": []},
    {"[": {}},
    {"a": {"type": 7}},
    [{"type": 7}],
    [True],
]
BASES: list[dict[str, Any]] = [
    {},
    {"type": "object"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "number"},
]
# What must be refused, and where.
NAMED = [
    ("properties", []),
    ("properties", "x"),
    ("required", "a"),
    ("required", [1]),
    ("items", 5),
    ("enum", {}),
    ("enum", []),
    ("type", 7),
    ("type", "text"),
    ("type", [{}]),
    ("additionalProperties", "x"),
    ("patternProperties", []),
    ("prefixItems", {}),
    ("minimum", "x"),
    ("minimum", 10**400),
    ("multipleOf", 0),
    ("minItems", -1),
    ("maxLength", 1.5),
    ("anyOf", {}),
    ("allOf", "x"),
    ("pattern", 5),
    ("format", 1),
    ("$ref", 5),
]


@pytest.mark.parametrize("keyword", WORDS.split())
def test_a_keyword_with_any_value_is_refused_by_its_path_or_followed(keyword: str) -> None:
    for value, base in itertools.product(VALUES, BASES):
        schema = {**base, keyword: value}
        inside = {"type": "object", "properties": {"p": schema}, "required": ["p"]}
        for each in (
            schema,
            inside,
            {"anyOf": [schema, {"type": "null"}]},
            {"$defs": {"d": schema}, "$ref": "#/$defs/d"},
        ):
            try:
                json.dumps(example(each))
            except BadParameter as error:
                assert error.name.startswith("text.format.schema"), each  # noqa: PT017  # most raise nothing


@pytest.mark.parametrize(("keyword", "value"), NAMED, ids=lambda part: str(part)[:20])
def test_a_wrong_value_is_named(keyword: str, value: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        example({"type": "object", "properties": {"p": {"type": "string"}}} | {keyword: value})
    assert caught.value.name.startswith(f"text.format.schema.{keyword}")
