"""Where `$ref` points to inside one schema."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from engine.base import BadParameter
from engine.schema.errors import under

MAX_CHAIN = 64  # references that lead to each other, or schemas that hold in one place


class References:
    """The parts of one schema by pointer."""

    def __init__(self, schema: dict[str, Any], path: str) -> None:
        self._schema = schema
        self._path = path

    def find(self, pointer: Any, path: str) -> tuple[Any, str]:
        """What is there, and its own path. `path` is where the reference stands. Raises BadParameter."""
        here = under(path, "$ref")
        if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
            raise BadParameter(here, "must point into this schema, as '#/$defs/name' does")
        found: Any = self._schema
        place = self._path
        for part in pointer.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found, place = found[key], under(place, key)
            elif isinstance(found, list) and key.isdecimal() and len(key) < 9 and int(key) < len(found):
                found, place = found[int(key)], under(place, int(key))
            else:
                raise BadParameter(here, "points to nothing in this schema")
        return found, place

    def resolved(self, schema: Any, path: str) -> Any:
        """The schema itself, behind references that stand alone. Raises BadParameter for those without an end."""
        for _ in range(MAX_CHAIN):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            schema, path = self.find(schema["$ref"], path)
        raise BadParameter(under(path, "$ref"), "refers to itself")

    def in_place(self, schema: dict[str, Any], path: str) -> list[dict[str, Any]]:
        """The schema and all that hold in the same place, through references and combinations."""
        return list(self._walk(schema, path, set()))

    def _walk(self, schema: Any, path: str, seen: set[str]) -> Iterator[dict[str, Any]]:
        if not isinstance(schema, dict):
            return
        if len(seen) > MAX_CHAIN:
            raise BadParameter(path, f"combines more than {MAX_CHAIN} definitions")
        yield schema
        if "$ref" in schema and schema["$ref"] not in seen:
            target, place = self.find(schema["$ref"], path)
            seen.add(schema["$ref"])
            yield from self._walk(target, place, seen)
        for keyword in ("allOf", "anyOf", "oneOf"):
            for part in schema[keyword] if isinstance(schema.get(keyword), list) else ():
                yield from self._walk(part, under(path, keyword), seen)
