"""What can only be seen of a converted schema as a whole: loops, answers without an end, and how it branches."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from engine.base import BadParameter
from engine.schema.errors import under
from engine.schema.limits import MAX_ALTERNATIVES, MAX_CROSSED, MAX_MEMBERS

PREFIX = "#/$defs/"

Definitions = Mapping[str, Any]  # by name; the schema itself is called ""


def check_loops(definitions: Definitions, paths: Mapping[str, str]) -> None:
    """Refuse a definition that is itself without anything in between: `{"$ref": "#"}`, A that is B that is A."""
    next_to = {name: set(_references_in_place(schema)) for name, schema in definitions.items()}
    done: set[str] = set()
    for start in next_to:
        _visit(start, next_to, done, paths)


def _visit(start: str, next_to: Mapping[str, set[str]], done: set[str], paths: Mapping[str, str]) -> None:
    """Depth first, with a stack of its own: a schema may have more definitions than Python has frames."""
    stack, entered = [(start, iter(next_to[start]))], {start}
    while stack:
        name, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            stack.pop()
            entered.discard(name)
            done.add(name)
        elif following in entered:
            raise BadParameter(under(paths[name], "$ref"), "refers to itself with nothing in between")
        elif following not in done:
            entered.add(following)
            stack.append((following, iter(next_to[following])))


def _references_in_place(schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(PREFIX)
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from _references_in_place(part)


def check_ends(definitions: Definitions, paths: Mapping[str, str]) -> None:
    """Refuse a schema whose answers have no end: an object that requires itself, and nothing else instead."""
    found = ranks(definitions)
    for name, path in paths.items():
        if name not in found:
            raise BadParameter(path, "has no finite answer: it requires itself")


def ranks(definitions: Definitions) -> dict[str, int]:
    """Of each definition that has a finite answer, how many others it needs for the shortest way to one."""
    users: dict[str, set[str]] = {name: set() for name in definitions}
    for name, schema in definitions.items():
        for used in references(schema):
            users[used].add(name)
    found: dict[str, int] = {}
    waiting = set(definitions)
    round_ = 0
    while waiting:
        new = [name for name in waiting if name not in found and _ends(definitions[name], found)]
        found |= dict.fromkeys(new, round_)
        waiting = {user for name in new for user in users[name]} - found.keys()
        round_ += 1
    return found


def references(schema: Any) -> Iterator[str]:
    """Names of the definitions that a schema uses, anywhere."""
    if isinstance(schema, list):
        for part in schema:
            yield from references(part)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str) and value.startswith(PREFIX):
                yield value.removeprefix(PREFIX)
            elif key in ("properties", "patternProperties"):
                yield from references(list(value.values()))
            elif key in ("items", "additionalProperties", "prefixItems", "anyOf", "allOf"):
                yield from references(value)


def _ends(schema: Any, ending: Mapping[str, int]) -> bool:
    """Whether some answer to it is finite, given the definitions that have one."""
    if not isinstance(schema, dict):
        return schema is not False
    if "$ref" in schema:
        return schema["$ref"].removeprefix(PREFIX) in ending
    if not all(_ends(part, ending) for part in schema.get("allOf", ())):
        return False
    if "anyOf" in schema and not any(_ends(part, ending) for part in schema["anyOf"]):
        return False
    return _is_simple(schema) or (_ends_as_object(schema, ending) and _ends_as_array(schema, ending))


def _is_simple(schema: dict[str, Any]) -> bool:
    """Whether it may be something else than an object or an array."""
    given = schema.get("type")
    names = {given} if isinstance(given, str) else set(given or ("null",))
    return "enum" in schema or "const" in schema or bool(names - {"object", "array"})


def _ends_as_object(schema: dict[str, Any], ending: Mapping[str, int]) -> bool:
    properties = schema.get("properties", {})
    return all(_ends(properties.get(name, {}), ending) for name in schema.get("required", ()))


def _ends_as_array(schema: dict[str, Any], ending: Mapping[str, int]) -> bool:
    least = schema.get("minItems", 0)
    first = schema.get("prefixItems", [])[:least]
    if not all(_ends(part, ending) for part in first):
        return False
    return least <= len(first) or _ends(schema.get("items", {}), ending)


def check_branches(definitions: Definitions, paths: Mapping[str, str]) -> None:
    """Refuse what multiplies: alternatives of several schemas for one place, and one property described twice."""
    known: dict[str, float] = {}
    members: dict[str, float] = {}
    crossed = 0.0
    for name in _inner_first(definitions):
        for schema in _every_schema(definitions[name]):
            count = _branches(schema, known)
            crossed += count if _multiplies(schema, known) else 0
            if crossed > MAX_CROSSED or count > MAX_ALTERNATIVES:
                raise BadParameter(paths[name], f"combines to more than {MAX_CROSSED} alternatives")
            if _is_tangled(schema, definitions):
                raise BadParameter(paths[name], "describes a property that is not simple in two schemas for one place")
        known[name] = _branches(definitions[name], known)
        members[name] = _members(definitions[name], members)
        if members[name] > MAX_MEMBERS + MAX_ALTERNATIVES:
            raise BadParameter(paths[name], f"combines more than {MAX_MEMBERS} schemas")


def _inner_first(definitions: Definitions) -> list[str]:
    """Names in an order in which what holds in place of another comes before it."""
    order: dict[str, None] = {}
    stack = list(definitions)
    while stack:
        name = stack[-1]
        missing = [each for each in _references_in_place(definitions[name]) if each not in order]
        if missing and name not in order:
            stack += missing
        else:
            order[stack.pop()] = None
    return list(order)


def _every_schema(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, list):
        for part in schema:
            yield from _every_schema(part)
    elif isinstance(schema, dict):
        yield schema
        for key in ("properties", "patternProperties"):
            yield from _every_schema(list(schema.get(key, {}).values()))
        for key in ("items", "additionalProperties", "prefixItems", "anyOf", "allOf"):
            yield from _every_schema(schema.get(key))


def _branches(schema: Any, known: Mapping[str, float]) -> float:
    if not isinstance(schema, dict):
        return 1
    count = known.get(schema["$ref"].removeprefix(PREFIX), 1.0) if "$ref" in schema else 1.0
    count *= math.prod(_branches(part, known) for part in schema.get("allOf", ()))
    if "anyOf" in schema:
        count *= sum(_branches(part, known) for part in schema["anyOf"])
    return count


def _members(schema: Any, known: Mapping[str, float]) -> float:
    """How many schemas a library meets in this place, each as often as it is named."""
    if not isinstance(schema, dict):
        return 1
    inner = sum(_members(part, known) for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())))
    return 1 + inner + (known.get(schema["$ref"].removeprefix(PREFIX), 1.0) if "$ref" in schema else 0)


def _multiplies(schema: dict[str, Any], known: Mapping[str, float]) -> bool:
    """Whether alternatives of several schemas meet in this place."""
    factors = [_branches(part, known) for part in schema.get("allOf", ())]
    factors += [sum(_branches(part, known) for part in schema["anyOf"])] if "anyOf" in schema else []
    return sum(factor > 1 for factor in factors) > 1


def _is_tangled(schema: dict[str, Any], definitions: Definitions) -> bool:
    """Whether grammars would be crossed with each other below this place: that grows with every level."""
    parts = [{key: value for key, value in schema.items() if key not in ("allOf", "anyOf")}, *schema.get("allOf", ())]
    if "anyOf" in schema:
        parts.append({"anyOf": schema["anyOf"]})
    return len(parts) > 1 and _meet(parts, definitions)


def _meet(parts: list[dict[str, Any]], definitions: Definitions) -> bool:
    seen: set[str] = set()
    for part in parts:
        names = set(_intricate_properties(part, definitions, set()))
        if names & seen:
            return True
        seen |= names
    return False


def _intricate_properties(schema: Any, definitions: Definitions, entered: set[str]) -> Iterator[str]:
    """Names of properties, in this place, that are more than a type with its limits."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(PREFIX)
        if name not in entered:
            entered.add(name)
            yield from _intricate_properties(definitions[name], definitions, entered)
    for name, part in schema.get("properties", {}).items():
        if isinstance(part, dict) and part.keys() & {"$ref", "allOf", "anyOf", "properties", "items", "prefixItems"}:
            yield name
    if "items" in schema or "prefixItems" in schema:
        yield "[]"  # no name of a property, and if it were one, the place would be refused without need
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        yield from _intricate_properties(part, definitions, entered)
