"""Whether the alternatives of a `oneOf` exclude each other, as far as that can be seen without solving them."""

import json
from collections.abc import Sequence
from typing import Any

from engine.base import BadParameter
from engine.schema.references import References

_TYPES = frozenset({"object", "array", "string", "number", "boolean", "null"})


def exclude_each_other(alternatives: Sequence[Any], references: References) -> bool:
    """By their types, by their values, or by a required property whose values differ."""
    if len(alternatives) == 1:
        return True
    try:
        parts = [references.resolved(part, "") for part in alternatives]
    except BadParameter:
        return False
    if not all(isinstance(part, dict) for part in parts):
        return False
    if _are_apart([_types(part) for part in parts]) or _are_apart([_values(part) for part in parts]):
        return True
    groups: dict[frozenset[str], list[dict[str, Any]]] = {}
    for part in parts:
        groups.setdefault(_types(part), []).append(part)
    return _are_apart(list(groups)) and all(_are_tagged(group, references) for group in groups.values())


def _are_tagged(parts: Sequence[dict[str, Any]], references: References) -> bool:
    """Whether a required property tells all of them apart, or their values do."""
    if len(parts) == 1 or _are_apart([_values(part) for part in parts]):
        return True
    names = [name for name in parts[0].get("required") or () if isinstance(name, str)]
    return any(_are_apart([_tag_values(part, name, references) for part in parts]) for name in names)


def _tag_values(part: dict[str, Any], name: str, references: References) -> frozenset[str] | None:
    if name not in (part.get("required") or ()) or not isinstance(part.get("properties"), dict):
        return None
    if part.get("type") != "object":
        return None
    try:
        tag = references.resolved(part["properties"].get(name), "")
    except BadParameter:
        return None
    return _values(tag) if isinstance(tag, dict) else None


def _are_apart(sets: Sequence[frozenset[str] | None]) -> bool:
    known = [each for each in sets if each is not None]
    return len(known) == len(sets) and len(frozenset().union(*known)) == sum(map(len, known))


def _types(part: dict[str, Any]) -> frozenset[str]:
    """Names of JSON's types; a whole number is a number."""
    given = part.get("type")
    if given is None:
        values = _listed(part)
        return _TYPES if values is None else frozenset(map(_type_of, values))
    names = [given] if isinstance(given, str) else given
    return frozenset("number" if name == "integer" else str(name) for name in names) if names else _TYPES


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "number", float: "number", list: "array", dict: "object", type(None): "null"}
    return kinds[type(value)]


def _values(part: dict[str, Any]) -> frozenset[str] | None:
    values = _listed(part)
    return None if values is None else frozenset(json.dumps(value, sort_keys=True) for value in values)


def _listed(part: dict[str, Any]) -> list[Any] | None:
    if "const" in part:
        return [part["const"]]
    return part["enum"] if isinstance(part.get("enum"), list) else None
