"""The schemas: what pydantic and zod make of ordinary types, what people write by hand, and what few can follow."""

from collections.abc import Iterator
from typing import Any, NamedTuple

Schema = dict[str, Any]
NO_PATTERN = "a pattern that is none"  # the one case that only a library for grammars can refuse


class Case(NamedTuple):
    """One schema. `refused` is the path below the schema that a server names, None where it should be followed."""

    name: str
    schema: Schema
    refused: str | None = None


TEXT: Schema = {"type": "string", "maxLength": 12}
OLDER: Schema = {"$schema": "http://json-schema.org/draft-07/schema#"}
WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": 99}


def closed(**properties: Any) -> Schema:
    """As zod and strict schemas have it."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def titled(**properties: Any) -> Schema:
    """As pydantic has it: titles everywhere, and nothing of other properties."""
    named = {name: {"title": name.title(), **part} for name, part in properties.items()}
    return {"title": "Model", "type": "object", "properties": named, "required": list(properties)}


def optional(**properties: Any) -> Schema:
    """Nothing is required."""
    return {"type": "object", "properties": properties}


def cases() -> list[Case]:
    """All of them; names are unique."""
    simple = (*_values(), *_strings(), *_formats(), *_numbers(), *_arrays(), *_unions())
    objects = (*_objects(), *_dictionaries(), *_recursive(), *_combined())
    return [*simple, *objects, *_by_hand(), *_by_hand_with_words(), *_refused()]


def _values() -> Iterator[Case]:
    kinds: dict[str, Schema] = {
        "string": TEXT,
        "integer": WHOLE,
        "number": {"type": "number", "minimum": -5, "maximum": 5.5},
        "boolean": {"type": "boolean"},
        "null": {"type": "null"},
        "enum": {"type": "string", "enum": ["red", "green", "blue"]},
        "enum without a type": {"enum": ["red", 1, None, True]},
        "const": {"const": "fixed"},
        "const with a type": {"type": "string", "const": "fixed"},
        "enum of one": {"enum": ["only"]},
        "enum of numbers": {"type": "integer", "enum": [1, 2, 3]},
    }
    for name, kind in kinds.items():
        yield Case(f"{name} by itself", kind)
        yield Case(f"{name} in a closed object", closed(value=kind))
        yield Case(f"{name} in pydantic's object", titled(value=kind))
        yield Case(f"{name} that may be null", closed(value={"anyOf": [kind, {"type": "null"}]}))
        yield Case(f"{name} with a default", {**optional(value={**kind, "default": None}), "required": ["value"]})
        yield Case(f"list of {name}", closed(values={"type": "array", "items": kind, "maxItems": 4}))


def _strings() -> Iterator[Case]:
    patterns = (
        "^[a-z]{3,8}$",
        r"^\d{4}-\d{2}$",
        "^(yes|no)$",
        r"^[A-Z]{2}\d{6}$",
        "^#[0-9a-f]{6}$",
        r"^\+?[1-9]\d{7,14}$",
    )
    for pattern in patterns:
        yield Case(f"pattern {pattern}", closed(code={"type": "string", "pattern": pattern}))
    yield Case("a pattern without anchors", closed(code={"type": "string", "pattern": "[0-9]", "maxLength": 6}))
    yield Case(
        "a pattern with lengths", closed(code={"type": "string", "pattern": "^a+b*$", "minLength": 4, "maxLength": 6})
    )
    yield Case("lengths", closed(code={"type": "string", "minLength": 2, "maxLength": 5}))
    yield Case("a length of none", closed(code={"type": "string", "maxLength": 0}))
    yield Case("lengths as floats", closed(code={"type": "string", "minLength": 2.0, "maxLength": 5.0}))


def _formats() -> Iterator[Case]:
    for name in ("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"):
        part: Schema = {"type": "string", "format": name}
        if name in ("email", "hostname", "uri", "duration"):
            part["maxLength"] = 24
        yield Case(f"format {name}", closed(value=part))
    for name in ("binary", "password", "path", "base64url", "cuid"):
        yield Case(f"format {name}", closed(value={**TEXT, "format": name}))
    yield Case("a date of one year", closed(day={"type": "string", "format": "date", "pattern": "^2025"}))


def _numbers() -> Iterator[Case]:
    bounds: tuple[Schema, ...] = (
        {"type": "integer", "minimum": 1, "maximum": 10},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4},
        {"type": "integer", "minimum": 9.5, "maximum": 12.5},
        {"type": "integer", "minimum": 1.0, "maximum": 3.0},
        {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "minimum": 9.5, "maximum": 9.75},
        {"type": "number", "minimum": -0.5, "maximum": 0.5},
        {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
        {"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 100},
        {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 3},
        {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
    )
    for bound in bounds:
        yield Case(f"number {bound}", closed(value=bound))


def _objects() -> Iterator[Case]:
    person = closed(name=TEXT, age=WHOLE)
    yield Case("two fields", person)
    yield Case("an object in an object", closed(person=person, ok={"type": "boolean"}))
    yield Case("three deep", closed(a=closed(b=closed(c=WHOLE))))
    yield Case("optional fields", optional(name=TEXT, age=WHOLE))
    yield Case("one of two is required", {**optional(name=TEXT, age=WHOLE), "required": ["age"]})
    yield Case("optional and closed", {**optional(name=TEXT, age=WHOLE), "additionalProperties": False})
    yield Case("without a type", {"properties": {"name": TEXT}, "required": ["name"]})
    yield Case("required and not described", {**optional(name=TEXT), "required": ["name", "other"]})
    yield Case("no properties", {"type": "object", "properties": {}, "additionalProperties": False})


def _dictionaries() -> Iterator[Case]:
    yield Case("a dictionary", {"type": "object", "additionalProperties": WHOLE, "maxProperties": 3})
    yield Case(
        "a dictionary by names",
        {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": WHOLE, "maxProperties": 3},
    )
    colors: Schema = {"$defs": {"Color": {"enum": ["red", "green"], "type": "string"}}}
    values: Schema = {"type": "object", "propertyNames": {"$ref": "#/$defs/Color"}, "additionalProperties": WHOLE}
    yield Case("a dictionary by an enum", {**colors, **values})
    yield Case("a dictionary by an enum in a model", {**colors, **closed(prices=values)})
    yield Case(
        "a dictionary by a pattern of names",
        {"type": "object", "propertyNames": {"pattern": "^k[0-9]$"}, "additionalProperties": WHOLE, "maxProperties": 2},
    )
    yield Case(
        "names by pattern",
        {
            "type": "object",
            "patternProperties": {"^x-[a-z]{1,4}$": WHOLE},
            "additionalProperties": False,
            "maxProperties": 2,
        },
    )
    yield Case(
        "a least number of properties",
        {**optional(a=WHOLE, b=WHOLE), "minProperties": 1, "additionalProperties": False},
    )
    yield Case("thirty fields", closed(**{f"field_{number}": {"type": "boolean"} for number in range(30)}))
    yield Case("thirty optional fields", optional(**{f"field_{number}": {"type": "boolean"} for number in range(30)}))
    yield Case("names with odd characters", closed(**{"a b": WHOLE, "ü": WHOLE, 'q"q': WHOLE, "a/b~c": WHOLE}))
    yield Case("nothing else is evaluated", {**optional(a=WHOLE), "required": ["a"], "unevaluatedProperties": False})


def _arrays() -> Iterator[Case]:
    yield Case("a list of objects", {"type": "array", "items": closed(id=WHOLE), "maxItems": 3})
    yield Case(
        "a list of lists",
        closed(rows={"type": "array", "maxItems": 3, "items": {"type": "array", "items": WHOLE, "maxItems": 3}}),
    )
    yield Case("at least two", closed(rows={"type": "array", "items": WHOLE, "minItems": 2, "maxItems": 3}))
    yield Case("exactly three", closed(rows={"type": "array", "items": WHOLE, "minItems": 3, "maxItems": 3}))
    yield Case("an empty list", closed(rows={"type": "array", "maxItems": 0}))
    pair: Schema = {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}
    yield Case("pydantic's tuple", closed(pair=pair))
    yield Case(
        "zod's tuple", closed(pair={"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2})
    )
    yield Case("a tuple of an older draft", {**OLDER, "type": "array", "items": [TEXT], "additionalItems": False})
    yield Case(
        "a tuple and more of an older draft",
        {**OLDER, "type": "array", "items": [TEXT], "additionalItems": WHOLE, "maxItems": 3},
    )
    yield Case("a list by its items", {"items": WHOLE, "maxItems": 2})
    yield Case(
        "repeated values allowed", closed(rows={"type": "array", "items": WHOLE, "maxItems": 3, "uniqueItems": False})
    )


def _unions() -> Iterator[Case]:
    cat, dog = closed(kind={"const": "cat"}, lives=WHOLE), closed(kind={"const": "dog"}, good={"type": "boolean"})
    yield Case("one or the other", closed(pet={"anyOf": [cat, dog]}))
    yield Case("a union at the top", {"anyOf": [cat, dog]})
    yield Case("a union that a tag tells apart", {"oneOf": [cat, dog]})
    defs: Schema = {"$defs": {"Cat": cat, "Dog": dog}}
    tagged = {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "discriminator": {"propertyName": "kind"}}
    yield Case("pydantic's tagged union", {**defs, **closed(pet=tagged)})
    yield Case("a list of a tagged union", {**defs, **closed(pets={"type": "array", "items": tagged, "maxItems": 2})})
    yield Case("values of types that differ", closed(value={"oneOf": [TEXT, WHOLE, {"type": "null"}]}))
    yield Case(
        "several types",
        closed(value={"type": ["string", "integer", "null"], "maxLength": 5, "minimum": 0, "maximum": 9}),
    )
    yield Case("null by a list of types", closed(value={"type": ["string", "null"], "maxLength": 5}))
    yield Case("an object or null", closed(value={"anyOf": [closed(a=WHOLE), {"type": "null"}]}))
    yield Case("zod's enum of constants", closed(value={"anyOf": [{"const": "a"}, {"const": "b"}]}))
    yield Case(
        "constants of oneOf", closed(value={"oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "B"}]})
    )
    yield Case("one of one", closed(value={"oneOf": [WHOLE]}))


def _recursive() -> Iterator[Case]:
    leaf: Schema = {"type": "null"}
    node = closed(value=WHOLE, next={"anyOf": [{"$ref": "#/$defs/Node"}, leaf]})
    yield Case("a linked list", {"$defs": {"Node": node}, "$ref": "#/$defs/Node"})
    yield Case("a linked list in a model", {"$defs": {"Node": node}, **closed(first={"$ref": "#/$defs/Node"})})
    yield Case("a list that is the schema", closed(value=WHOLE, next={"anyOf": [{"$ref": "#"}, leaf]}))
    tree = closed(name=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/Tree"}, "maxItems": 2})
    yield Case("a tree", {"$defs": {"Tree": tree}, "$ref": "#/$defs/Tree"})
    yield Case(
        "a tree of an older draft",
        {
            "definitions": {
                "Tree": {
                    **tree,
                    "properties": {
                        **tree["properties"],
                        "children": {"type": "array", "items": {"$ref": "#/definitions/Tree"}, "maxItems": 2},
                    },
                }
            },
            "$ref": "#/definitions/Tree",
        },
    )
    value: Schema = {"anyOf": [WHOLE, {"type": "array", "items": {"$ref": "#/$defs/Value"}, "maxItems": 2}]}
    yield Case("values in values", {"$defs": {"Value": value}, **closed(value={"$ref": "#/$defs/Value"})})
    even: Schema = {"$defs": {"A": optional(b={"$ref": "#/$defs/B"}), "B": optional(a={"$ref": "#/$defs/A"})}}
    yield Case("two that name each other", {**even, "$ref": "#/$defs/A"})
    yield Case("a reference to a property", closed(a=WHOLE, b={"$ref": "#/properties/a"}))
    yield Case("a name that has to be escaped", {"$defs": {"a/b": WHOLE}, **closed(x={"$ref": "#/$defs/a~1b"})})
    yield Case("a definition that nothing uses", {"$defs": {"Unused": closed(a=WHOLE)}, **closed(b=WHOLE)})


def _combined() -> Iterator[Case]:
    defs: Schema = {"$defs": {"Base": titled(id=WHOLE), "Short": {"type": "string", "maxLength": 4}}}
    reference = {"$ref": "#/$defs/Base"}
    yield Case(
        "pydantic's reference with words", {**defs, **closed(a={"allOf": [reference], "description": "The base."})}
    )
    yield Case(
        "a reference with words", {**defs, **closed(a={**reference, "description": "The base.", "default": None})}
    )
    yield Case("a reference with limits", {**defs, **closed(a={"$ref": "#/$defs/Short", "minLength": 2})})
    yield Case("two objects in one", {"allOf": [titled(a=WHOLE), titled(b=TEXT)]})
    yield Case("a base and more", {**defs, "allOf": [reference, titled(extra=TEXT)]})
    yield Case(
        "a base beside own properties", {**defs, "allOf": [reference], **optional(extra=TEXT), "required": ["extra"]}
    )
    yield Case("two limits", closed(a={"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}))
    yield Case(
        "one of two is there", {**optional(a=WHOLE, b=WHOLE), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    )
    yield Case(
        "what an alternative adds", {**titled(a=WHOLE), "anyOf": [titled(b=WHOLE), titled(c={"type": "boolean"})]}
    )


def _by_hand() -> Iterator[Case]:
    yield Case(
        "an extraction",
        closed(
            people={"type": "array", "maxItems": 2, "items": closed(name=TEXT, role={"enum": ["lead", "other"]})},
            summary=TEXT,
        ),
    )
    yield Case(
        "a classification",
        closed(label={"enum": ["spam", "ham"]}, confidence={"type": "number", "minimum": 0, "maximum": 1}),
    )
    yield Case(
        "steps and an answer",
        closed(
            steps={"type": "array", "maxItems": 2, "items": closed(explanation=TEXT, output=TEXT)}, final_answer=TEXT
        ),
    )
    yield Case(
        "an event",
        closed(
            name=TEXT,
            date={"type": "string", "format": "date"},
            participants={"type": "array", "items": TEXT, "maxItems": 2},
        ),
    )


def _by_hand_with_words() -> Iterator[Case]:
    yield Case(
        "a schema with its draft",
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/a", **closed(a=WHOLE)},
    )
    yield Case(
        "words and examples",
        {**closed(a={**WHOLE, "examples": [1, 2], "$comment": "a number"}), "description": "An object."},
    )
    yield Case("keywords of others", closed(a={**WHOLE, "x-order": 1, "readOnly": True, "nullable": True}))
    yield Case(
        "zod's whole number", closed(a={"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991})
    )
    address = closed(street=TEXT, zip={"type": "string", "pattern": "^[0-9]{5}$"})
    order = closed(
        id={"type": "string", "format": "uuid"},
        address={"$ref": "#/$defs/Address"},
        lines={"type": "array", "items": closed(sku=TEXT, count=WHOLE), "maxItems": 2},
    )
    yield Case("an order", {"$defs": {"Address": address}, **order})
    for size in (2, 5, 8):
        yield Case(
            f"{size} optional with null",
            titled(**{f"f{number}": {"anyOf": [WHOLE, {"type": "null"}], "default": None} for number in range(size)}),
        )
        yield Case(
            f"{size} alternatives",
            {"anyOf": [closed(kind={"const": f"k{number}"}, value=WHOLE) for number in range(size)]},
        )


def _refused() -> Iterator[Case]:
    def inside(name: str, part: Schema, path: str) -> Case:
        return Case(name, closed(value=part), f"properties.value.{path}" if path else "properties.value")

    yield inside("a set", {"type": "array", "items": WHOLE, "uniqueItems": True}, "uniqueItems")
    yield inside("not", {"not": {"type": "string"}}, "not")
    yield inside("zod's never", {"not": {}}, "not")
    yield inside("if and then", {"type": "string", "if": {"minLength": 1}, "then": {"maxLength": 3}}, "if")
    yield inside("contains", {"type": "array", "contains": WHOLE}, "contains")
    yield inside("dependentRequired", {"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired")
    yield inside("alternatives that overlap", {"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf")
    yield inside("an empty enum", {"enum": []}, "enum")
    yield inside("a type of nobody", {"type": "text"}, "type")
    yield inside("a bound of 1e30", {"type": "number", "maximum": 1e30}, "maximum")
    yield inside("a bound of 2^64", {"type": "integer", "maximum": 2**64}, "maximum")
    yield inside("a low bound above the high one", {"type": "integer", "minimum": 5, "maximum": 4}, "minimum")
    yield inside("lengths the wrong way round", {"type": "string", "minLength": 5, "maxLength": 4}, "minLength")
    yield inside("zod's email", {"type": "string", "format": "email", "pattern": "^(?!\\.)[a-z]+@[a-z]+$"}, "pattern")
    yield inside("a word boundary", {"type": "string", "pattern": "\\bfoo\\b"}, "pattern")
    yield inside("a reference to a group", {"type": "string", "pattern": "^(a)\\1$"}, "pattern")
    yield inside(NO_PATTERN, {"type": "string", "pattern": "^(a"}, "pattern")
    yield inside("counts in counts", {"type": "string", "pattern": "^(([a-z]{1,30}){1,30}){1,29}$"}, "pattern")
    yield inside("a reference to another file", {"$ref": "https://example.com/a.json"}, "$ref")
    yield inside("a reference to nothing", {"$ref": "#/$defs/None"}, "$ref")
    yield inside("a format of the standard", {"type": "string", "format": "json-pointer"}, "format")
    yield inside("an array of a million", {"type": "array", "items": WHOLE, "maxItems": 10**6}, "maxItems")
    yield Case("itself", {"$ref": "#"}, "$ref")
    yield Case(
        "A is B is A",
        {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
        "$defs.B.$ref",
    )
    yield Case("requires itself", closed(again={"$ref": "#"}), "")
    yield Case("1,000 optional properties", optional(**{f"p{number}": TEXT for number in range(1000)}), "properties")
    yield Case("forty schemas deep", _deep(40), ".".join(["properties.a"] * 33))


def _deep(levels: int) -> Schema:
    schema = WHOLE
    for _ in range(levels):
        schema = closed(a=schema)
    return schema
