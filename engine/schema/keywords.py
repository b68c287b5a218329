"""The keywords of JSON Schema: which are checked, which mean nothing for an answer, which no grammar follows."""

import math
from collections.abc import Callable
from typing import Any

from engine.schema.errors import under, unenforceable, wrong
from engine.schema.limits import MAX_LENGTH, MAX_NUMBER
from engine.schema.pattern import PatternError, check_pattern

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "$anchor",
        "$comment",
        "$vocabulary",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
    }
)
UNENFORCEABLE = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "contains",
        "minContains",
        "maxContains",
        "unevaluatedItems",
        "$dynamicRef",
        "$recursiveRef",
    }
)
ENFORCED_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
)
# The other formats of the standard; a name that is none of them is an annotation.
UNENFORCEABLE_FORMATS = frozenset(
    {
        "idn-email",
        "idn-hostname",
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "json-pointer",
        "relative-json-pointer",
        "regex",
    }
)
_OF_OBJECTS = ("properties", "patternProperties", "required", "additionalProperties", "minProperties", "maxProperties")
_OF_ARRAYS = ("items", "prefixItems", "minItems", "maxItems")
_OF_STRINGS = ("pattern", "minLength", "maxLength")
_OF_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TAKEN = ("$ref", "allOf", "anyOf", "oneOf", "enum", "const", "type")


def modern(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The words of the latest draft: a list in `items` is `prefixItems`, and `additionalItems` are `items`."""
    if not isinstance(schema.get("items"), list):
        return {key: value for key, value in schema.items() if key != "additionalItems"}
    if "prefixItems" in schema:
        raise wrong(under(path, "items"), "must be a schema beside 'prefixItems'")
    rest = {key: value for key, value in schema.items() if key not in ("items", "additionalItems")}
    rest["prefixItems"] = schema["items"]
    return rest | ({"items": schema["additionalItems"]} if "additionalItems" in schema else {})


def check_known(schema: dict[str, Any], path: str) -> None:
    """Refuse what an answer cannot be held to. Keywords that nobody knows are annotations, as the standard says."""
    for keyword in schema:
        if keyword in UNENFORCEABLE:
            raise unenforceable(path, keyword)
    if schema.get("uniqueItems", False) is not False:
        raise unenforceable(path, "uniqueItems")
    if not isinstance(schema.get("unevaluatedProperties", True), bool):
        raise unenforceable(path, "unevaluatedProperties", "only true and false")


def scalars(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The keywords without schemas in them, checked."""
    made: dict[str, Any] = {}
    for keyword, check in _SCALARS.items():
        if keyword in schema:
            made[keyword] = check(schema[keyword], under(path, keyword))
    made |= counts(schema, path, "minLength", "maxLength", most=MAX_LENGTH)
    made |= _format(schema, path)
    if made.get("type") == "integer":
        _round_bounds(made)
    if "minimum" in made and "maximum" in made and made["minimum"] > made["maximum"]:
        raise wrong(under(path, "minimum"), "is more than 'maximum'")
    return made


def inferred_type(schema: dict[str, Any]) -> str | None:
    """The type that a schema without one talks of. Every answer of that type fits the schema as it was."""
    if any(keyword in schema for keyword in _TAKEN):
        return None
    kinds = {"object": _OF_OBJECTS, "array": _OF_ARRAYS, "string": _OF_STRINGS, "number": _OF_NUMBERS}
    return next((kind for kind, words in kinds.items() if any(word in schema for word in words)), None)


def counts(schema: dict[str, Any], path: str, low: str, high: str, *, most: int = 2**31) -> dict[str, int]:
    """A pair of keywords that count."""
    made: dict[str, int] = {}
    for keyword in (low, high):
        if keyword not in schema:
            continue
        value = schema[keyword]
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
            raise wrong(under(path, keyword), "must be a whole number of at least 0")
        if value > most:
            raise wrong(under(path, keyword), f"may be at most {most}")
        made[keyword] = int(value)
    if low in made and high in made and made[low] > made[high]:
        raise wrong(under(path, low), f"is more than '{high}'")
    return made


def property_counts(schema: dict[str, Any], path: str) -> dict[str, int]:
    """minProperties and maxProperties. A grammar counts a key that comes twice as two."""
    made = counts(schema, path, "minProperties", "maxProperties", most=1000)
    closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    if made.get("minProperties", 0) > 1 and not closed:
        raise unenforceable(path, "minProperties", "more than 1 needs 'additionalProperties': false")
    return made


def required(value: Any, path: str) -> list[str]:
    """Names, each once."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise wrong(path, "must be a list of strings")
    return list(dict.fromkeys(value))


def check_pattern_at(pattern: Any, path: str) -> str:
    """Raises BadParameter."""
    if not isinstance(pattern, str):
        raise wrong(path, "must be a string")
    try:
        check_pattern(pattern)
    except PatternError as error:
        raise wrong(path, str(error)) from error
    return pattern


def _type(value: Any, path: str) -> str | list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(name in TYPES for name in names):
        raise wrong(path, f"must be one of {', '.join(TYPES)}, or a list of them")
    return names[0] if len(names) == 1 else list(dict.fromkeys(names))


def _enum(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise wrong(path, "must be a list of at least one value")
    for index, each in enumerate(value):
        _const(each, under(path, index))
    return value


def _const(value: Any, path: str) -> Any:
    """Any value; its numbers must be of a size that is written without an exponent."""
    if isinstance(value, int | float) and abs(value) >= MAX_NUMBER:
        raise wrong(path, "must be a number of less than 64 bits")
    if isinstance(value, dict):
        for key, each in value.items():
            _const(each, under(path, key))
    if isinstance(value, list):
        for index, each in enumerate(value):
            _const(each, under(path, index))
    return value


def _bound(value: Any, path: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
        raise wrong(path, "must be a number")
    if abs(value) >= MAX_NUMBER:  # before it becomes a float, which not every int can
        raise wrong(path, "must be a number of less than 64 bits")
    if value == value // 1:
        return int(value)
    if "e" in repr(value):
        raise wrong(path, "must be a number that is written without an exponent")
    return float(value)


def _multiple(given: Any, path: str) -> int | float:
    value = _bound(given, path)
    if value <= 0:
        raise wrong(path, "must be more than 0")
    return value


def digits(value: float) -> int:
    """A number without its decimal point."""
    return int(repr(value).replace(".", ""))


def _format(schema: dict[str, Any], path: str) -> dict[str, str]:
    given = schema.get("format")
    if given is None:
        return {}
    if not isinstance(given, str):
        raise wrong(under(path, "format"), "must be a string")
    if given in UNENFORCEABLE_FORMATS:
        raise wrong(under(path, "format"), f"an answer cannot be held to the format '{given}'")
    return {"format": given} if given in ENFORCED_FORMATS else {}


def _round_bounds(made: dict[str, Any]) -> None:
    """Bounds of whole numbers as whole numbers that belong to the range."""
    lows = [math.ceil(made.pop("minimum"))] if "minimum" in made else []
    lows += [math.floor(made.pop("exclusiveMinimum")) + 1] if "exclusiveMinimum" in made else []
    highs = [math.floor(made.pop("maximum"))] if "maximum" in made else []
    highs += [math.ceil(made.pop("exclusiveMaximum")) - 1] if "exclusiveMaximum" in made else []
    made |= {"minimum": max(lows)} if lows else {}
    made |= {"maximum": min(highs)} if highs else {}


_SCALARS: dict[str, Callable[[Any, str], Any]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": check_pattern_at,
    "minimum": _bound,
    "maximum": _bound,
    "exclusiveMinimum": _bound,
    "exclusiveMaximum": _bound,
    "multipleOf": _multiple,
}
