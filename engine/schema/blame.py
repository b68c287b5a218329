"""Which part of a schema an engine refuses, when all that it says is that it refuses the whole."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from engine.schema.analysis import PREFIX, references
from engine.schema.convert import Converted
from engine.schema.errors import under

MAX_TRIES = 300
SINGLE = (
    "pattern",
    "format",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "enum",
    "const",
)


class Blame(NamedTuple):
    """The innermost part that is refused by itself, and why."""

    path: str
    reason: str


def blame(converted: Converted, refusal: Callable[[dict[str, Any]], str | None]) -> Blame | None:
    """Try parts from the outside to the inside; None for a schema that is not refused.

    `refusal` says why a schema is refused, or None. It is asked a limited number of times.
    """
    search = _Search(converted, refusal)
    reason = search.why(converted.schema)
    return None if reason is None else search.innermost(converted.schema, converted.paths[""], reason)


class _Search:
    def __init__(self, converted: Converted, refusal: Callable[[dict[str, Any]], str | None]) -> None:
        self._definitions: dict[str, Any] = converted.schema.get("$defs", {})
        self._paths = converted.paths
        self._refusal = refusal
        self._tries = 0
        self._entered: set[str] = set()  # definitions

    def why(self, part: dict[str, Any]) -> str | None:
        self._tries += 1
        if self._tries > MAX_TRIES:
            return None
        needs = any(True for _ in references(part))
        return self._refusal(part | {"$defs": self._definitions} if needs else part)

    def innermost(self, part: dict[str, Any], path: str, reason: str) -> Blame:
        inner = self._refused_child(part, path)
        while inner is not None:
            part, path, reason = inner
            inner = self._refused_child(part, path)
        kind = {"type": part["type"]} if "type" in part else {}
        for keyword in SINGLE:
            if keyword in part and (why := self.why(kind | {keyword: part[keyword]})):
                return Blame(under(path, keyword), why)
        return Blame(path, reason)

    def _refused_child(self, part: dict[str, Any], path: str) -> tuple[dict[str, Any], str, str] | None:
        for child, place in self._children(part, path):
            if isinstance(child, dict) and (why := self.why(child)):
                return child, place, why
        return None

    def _children(self, part: dict[str, Any], path: str) -> Iterator[tuple[Any, str]]:
        if "$ref" in part and (name := part["$ref"].removeprefix(PREFIX)) not in self._entered:
            self._entered.add(name)
            yield self._definitions[name], self._paths[name]
        for keyword in ("properties", "patternProperties"):
            for name, child in part.get(keyword, {}).items():
                yield child, under(under(path, keyword), name)
        for keyword in ("items", "additionalProperties"):
            if keyword in part:
                yield part[keyword], under(path, keyword)
        for keyword in ("prefixItems", "anyOf", "allOf"):
            for index, child in enumerate(part.get(keyword, ())):
                yield child, under(under(path, keyword), index)
