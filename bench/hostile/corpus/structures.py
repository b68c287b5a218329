"""Schemas and tools: what becomes a grammar, or a part of the prompt."""

from collections.abc import Iterator
from random import Random
from typing import Any

from bench.hostile.corpus.family import ROOM, Family, Ground, everywhere, made
from bench.hostile.inputs import Input, create, said, spoken

Schema = dict[str, Any]


def shaped(schema: Any, name: str = "s", **fields: Any) -> dict[str, Any]:
    """A request for an answer of this shape."""
    shape = {"type": "json_schema", "name": name, "schema": schema, "strict": True}
    return create(text={"format": shape}, max_output_tokens=16, **fields)


def object_of(**properties: Any) -> Schema:
    """An object that has all of these."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def wide(count: int) -> Schema:
    """Many properties."""
    return object_of(**{f"p{number}": {"type": "string"} for number in range(count)})


def deep(depth: int) -> Schema:
    """Objects in objects."""
    schema: Schema = {"type": "string"}
    for _ in range(depth):
        schema = object_of(a=schema)
    return schema


def laughs(levels: int, each: int = 10) -> Schema:
    """Each definition is made of ten of the one before."""
    definitions: dict[str, Any] = {"d0": {"type": "string", "maxLength": 3}}
    for level in range(1, levels):
        before = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = object_of(**{f"p{number}": before for number in range(each)})
    return {"$defs": definitions, "$ref": f"#/$defs/d{levels - 1}"}


def crossed(count: int) -> Schema:
    """Choices within choices: each level doubles what must be told apart."""
    schema: Schema = {"type": "string"}
    for _ in range(count):
        schema = {"anyOf": [object_of(a=schema), object_of(a=schema, b={"type": "integer"})]}
    return schema


SCHEMAS: dict[str, Any] = {
    "5,000 properties": wide(5000),
    "15,000 properties": wide(15_000),
    "300 properties, none required": {"type": "object", "properties": wide(300)["properties"]},
    "30 objects in objects": deep(30),
    "an enum of 60,000": {"enum": [f"value-{number}" for number in range(60_000)]},
    "an enum of one million characters": {"enum": ["v" * (ROOM - 500)]},
    "a const of one million characters": {"const": "v" * (ROOM - 500)},
    "maxLength of a million": {"type": "string", "minLength": 999_999, "maxLength": 1_000_000},
    "minLength of a thousand million": {"type": "string", "minLength": 10**9},
    "minItems of a million": {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
    "maxItems in maxItems": {"type": "array", "maxItems": 5000, "items": {"type": "array", "maxItems": 5000}},
    "integers of a range": {"type": "integer", "minimum": -(10**18), "maximum": 10**18 + 7},
    "pattern: nested repetition": {"type": "string", "pattern": "^(a+)+$"},
    "pattern: counted in counted": {"type": "string", "pattern": "^((a{0,1000}){0,1000}){0,1000}$"},
    "pattern: counted letters": {"type": "string", "pattern": "^[a-z]{1,100000}$"},
    "pattern: long": {"type": "string", "pattern": "(a|b)" * 50_000},
    "pattern: deep": {"type": "string", "pattern": "(" * 5000 + "a" + ")" * 5000},
    "pattern: many choices": {"type": "string", "pattern": "^(" + "|".join(f"w{n}x" for n in range(20_000)) + ")$"},
    "pattern: look ahead": {"type": "string", "pattern": "^(?=.*a)(?=.*b)(?!.*c).*$"},
    "pattern: back reference": {"type": "string", "pattern": r"^(.*)\1$"},
    "pattern: any of Unicode": {"type": "string", "pattern": r"^[^\u0000-\uffff]{0,500}$"},
    "pattern: broken": {"type": "string", "pattern": "(["},
    "$ref to itself": {"$ref": "#"},
    "$ref in a ring": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "$ref to nothing": {"$ref": "#/$defs/none"},
    "$ref to another place": {"$ref": "http://127.0.0.1:1/schema.json"},
    "six levels of ten": laughs(6),
    "nine levels of ten": laughs(9),
    "choices in choices": crossed(10),
    "3,000 choices": {"anyOf": [object_of(**{f"k{number}": {"type": "string"}}) for number in range(3000)]},
    "200 in allOf": {"allOf": [wide(20) for _ in range(200)]},
    "patternProperties": {"type": "object", "patternProperties": {f"^{n}.*(a+)+$": {} for n in range(2000)}},
    "dependentSchemas": {"type": "object", "dependentSchemas": {str(n): wide(5) for n in range(500)}},
    "if, then, else": {"if": deep(20), "then": deep(20), "else": deep(20)},
    "not": {"not": deep(20)},
    "a type that is a number": {"type": 7},
    "properties that are a list": {"type": "object", "properties": [1, 2, 3]},
    "keywords that nobody knows": {f"x{number}": [] for number in range(50_000)},
    "true": True,
    "a list": [],
}


def schemas(ground: Ground, random: Random) -> Iterator[Input]:
    """`text.format`, each as an event; some over HTTP too."""
    for name, schema in SCHEMAS.items():
        yield said(name, shaped(schema), runs=True)
    for name in ("5,000 properties", "six levels of ten", "pattern: counted in counted", "minItems of a million"):
        yield from everywhere(name, shaped(SCHEMAS[name]), runs=True)
    one = [shaped(wide(20), f"n{number}", stream_id=f"l{number}", seed=number) for number in range(16)]
    yield spoken("16 at once", one, runs=True)
    different = [shaped(wide(random.randrange(10, 400)), stream_id=f"l{number}") for number in range(16)]
    yield spoken("16 different ones at once", different, runs=True)
    yield said("odd names", shaped(wide(2), '"\\\n{}'), runs=True)


def tools(ground: Ground, random: Random) -> Iterator[Input]:
    """Tools: many, large, chosen."""
    plain = [{"type": "function", "name": f"f{number}"} for number in range(25_000)]
    yield from made("25,000 functions", tools=plain)
    yield from made("25,000 functions, truncated", tools=plain, truncation="auto")
    yield from made("the same function 25,000 times", tools=plain[:1] * 25_000)
    yield from made("40,000 of a type that is ignored", tools=[{"type": "web_search"}] * 40_000, runs=True)
    yield from made("tools without a type", tools=[{}] * 200_000)
    yield from made("a name with odd characters", tools=[{"type": "function", "name": "\x00{}<|im_end|>"}], runs=True)
    for name, schema in SCHEMAS.items():
        if isinstance(schema, dict):
            yield said(f"required, {name}", _chosen(schema), runs=True)
    several = [{"type": "function", "name": f"f{n}", "parameters": wide(20), "strict": True} for n in range(200)]
    yield from made("200 functions, one required", tools=several, tool_choice="required", runs=True)
    unknown = {"type": "function", "name": "n" * (ROOM // 2)}
    yield from made("a choice that is not there", tools=plain[:1], tool_choice=unknown)
    yield from made("a choice of a long type", tools=plain[:1], tool_choice={"type": "n" * (ROOM // 2)})


def _chosen(schema: Schema) -> dict[str, Any]:
    tool = {"type": "function", "name": "f", "parameters": schema, "strict": True}
    return create(tools=[tool], tool_choice="required", max_output_tokens=16)


STRUCTURES = (
    Family("schemas", "shapes that are costly as a grammar", schemas),
    Family("tools", "functions: many, large, required", tools),
)
