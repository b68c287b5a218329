"""What becomes of a schema, and under which name the rest is refused."""

import json
import re
import time
from contextlib import suppress
from typing import Any

import pytest

from bench.schemas.table import NO_PATTERN, cases
from engine.base import BadParameter
from engine.schema import convert, enforceable
from tests.speed import slowness

REFUSED = [case for case in cases() if case.refused is not None and case.name != NO_PATTERN]
TEXT = {"type": "string"}
CLOSED = {"additionalProperties": False}
TUPLE = {"type": "array", "items": [TEXT], "additionalItems": False}
BY_NAMES = {"type": "object", "propertyNames": {"enum": ["a"]}, "additionalProperties": TEXT}
BOUNDS = {"minimum": 9.5, "exclusiveMaximum": 12}
KEYWORDS = (
    "$ref $defs type enum properties required additionalProperties patternProperties propertyNames items prefixItems",
    "allOf anyOf oneOf minLength minItems minimum multipleOf pattern format minProperties uniqueItems",
)


def refusal(schema: Any) -> BadParameter:
    with pytest.raises(BadParameter) as caught:
        enforceable(schema, "s")
    return caught.value


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "object", "properties": {"a": TEXT}}, {"type": "object", "properties": {"a": TEXT}, **CLOSED}),
        ({"properties": {}}, {"properties": {}, "type": "object", "additionalProperties": False}),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": {}}),
        (TUPLE, {"type": "array", "prefixItems": [TEXT], "items": False}),
        ({"type": "integer", **BOUNDS}, {"type": "integer", "minimum": 10, "maximum": 11}),
        ({"type": "string", "minLength": 2.0, "title": "T", "x-y": 1}, {"type": "string", "minLength": 2}),
        ({"type": ["string"], "format": "password"}, TEXT),
        ({"minLength": 3}, {"minLength": 3, "type": "string"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"allOf": [TEXT], "description": "words"}, TEXT),
        (BY_NAMES, {"type": "object", "properties": {"a": TEXT}, **CLOSED}),
        ({}, {}),
    ],
)
def test_it_is_said_in_the_words_of_grammars(schema: Any, wanted: Any) -> None:
    assert enforceable(schema, "s") == wanted


def test_an_object_of_several_schemas_is_closed_as_a_whole() -> None:
    parts = [{"type": "object", "properties": {name: TEXT}, "required": [name]} for name in "ab"]
    made = enforceable({"allOf": parts}, "s")
    assert made["allOf"] == parts
    assert made["properties"] == {"a": {}, "b": {}}
    assert made["additionalProperties"] is False


def test_one_that_is_open_on_purpose_stays_open() -> None:
    base = {"type": "object", "properties": {"a": TEXT}, "additionalProperties": True}
    made = enforceable({"allOf": [base, {"type": "object", "properties": {"b": TEXT}}]}, "s")
    assert "additionalProperties" not in made


def test_a_definition_is_open_where_it_is_a_part_and_closed_where_it_is_the_whole() -> None:
    base = {"type": "object", "properties": {"a": TEXT}}
    both = {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/B"}, "y": {"$ref": "#/$defs/B", "properties": {"b": TEXT}}},
    }
    definitions = enforceable({"$defs": {"B": base}, **both}, "s")["$defs"].values()
    assert sorted("additionalProperties" in each for each in definitions) == [False, True]


def test_definitions_have_names_of_their_own_and_know_where_they_came_from() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/properties/b"}, "b": TEXT, "c": {"$ref": "#/$defs/x~1y"}},
    }
    converted = convert(schema | {"$defs": {"x/y": {"type": "null"}}}, "s", prefix="t0d")
    assert {converted.paths[name]: made for name, made in converted.schema["$defs"].items()} == {
        "s.properties.b": TEXT,
        "s.$defs.x/y": {"type": "null"},
    }
    assert all(name.startswith("t0d") for name in converted.schema["$defs"])


def test_the_schema_of_a_client_is_left_as_it_was() -> None:
    for case in cases():
        before = json.dumps(case.schema)
        with suppress(BadParameter):
            enforceable(case.schema, "s")
        assert json.dumps(case.schema) == before


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_no_grammar_follows_is_refused_by_its_path(case: Any) -> None:
    assert refusal(case.schema).name == f"s.{case.refused}".removesuffix(".")


@pytest.mark.parametrize("case", [case for case in cases() if case.refused is None], ids=lambda case: case.name)
def test_an_ordinary_schema_passes(case: Any) -> None:
    enforceable(case.schema, "s")


def chain(length: int) -> dict[str, Any]:
    links = {f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(length)}
    return {"$defs": {**links, f"d{length}": TEXT}, "$ref": "#/$defs/d0"}


def in_place(length: int) -> dict[str, Any]:
    links = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(length)}
    return {"$defs": {**links, f"d{length}": TEXT}, "$ref": "#/$defs/d0"}


HOSTILE: dict[str, tuple[Any, str]] = {
    "too many bytes": ({"description": "a" * 200_000}, "bytes"),
    "many optional properties": ({"properties": {f"p{i}": TEXT for i in range(401)}}, "optional"),
    "many properties": ({"properties": {f"p{i}": TEXT for i in range(2001)}, "required": []}, "more than 2000"),
    "a chain of definitions": (chain(400), "deep together"),
    "combinations of combinations": (in_place(60), "alternatives|nested|combines"),
    "alternatives that multiply": ({"allOf": [{"anyOf": [TEXT] * 30}] * 2}, "combines"),
    "alternatives that multiply elsewhere": (
        {"type": "object", "properties": {str(i): {"allOf": [{"anyOf": [TEXT] * 9}] * 2} for i in range(9)}},
        "combines",
    ),
    "one property, twice, in depth": (
        {"allOf": [{"properties": {"p": {"properties": {"q": TEXT}}}}] * 2},
        "in two schemas for one place",
    ),
    "many alternatives": ({"anyOf": [TEXT] * 501}, "may have 500"),
    "counted items": ({"type": "array", "prefixItems": [{"type": "array", "minItems": 3000}] * 2}, "items"),
    "multiples": ({"anyOf": [{"type": "integer", "multipleOf": 9000 + i} for i in range(3)]}, "at most 10000"),
    "not a number": ({"const": float("nan")}, "JSON"),
    "a bound that is none": ({"type": "number", "minimum": True}, "number"),
    "a list for a schema": ([], "object"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_in_no_time(name: str) -> None:
    schema, reason = HOSTILE[name]
    start = time.process_time()
    error = refusal(schema)
    assert time.process_time() - start < 1.0 * slowness()
    assert re.search(reason, str(error))


@pytest.mark.parametrize("value", [None, 1, "a", [], [1], {"a": 1}, True])
@pytest.mark.parametrize("keyword", " ".join(KEYWORDS).split())
def test_a_keyword_of_a_wrong_type_is_no_bug_of_ours(keyword: str, value: Any) -> None:
    for schema in ({keyword: value}, {"type": "object", "properties": {"a": {keyword: value}}}):
        with suppress(BadParameter):
            enforceable(schema, "s")


def test_names_of_any_length_make_names_that_can_be_read() -> None:
    error = refusal({"properties": {"a" * 10_000: {"not": {}}}})
    assert len(error.name) < 200
