"""A schema in the words that grammars follow: what it means stays, what they lack is refused by its path.

What changes on the way: objects that name their properties take no others unless `additionalProperties` says so, since
small models invent keys and every answer to the closed schema fits the open one. References go to definitions of our
own names, since a schema may point anywhere into itself. `oneOf` whose alternatives exclude each other is `anyOf`.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from engine.schema import keywords
from engine.schema.analysis import check_branches, check_ends, check_loops
from engine.schema.errors import under, unenforceable, wrong
from engine.schema.limits import (
    MAX_ALTERNATIVES,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_MULTIPLE,
    MAX_NESTING,
    MAX_OPTIONAL,
    MAX_PROPERTIES,
)
from engine.schema.overlap import exclude_each_other
from engine.schema.references import References

IN_PLACE = ("allOf", "anyOf", "oneOf")
NAMING = ("properties", "patternProperties")


class Converted(NamedTuple):
    """A schema that an engine is given, and where the parts of it come from."""

    schema: dict[str, Any]
    paths: dict[str, str]  # of its definitions, by name; that of the schema itself is under ""


def enforceable(schema: Any, path: str, *, prefix: str = "d") -> dict[str, Any]:
    """The schema that an engine is given. Raises BadParameter, see `convert`."""
    return convert(schema, path, prefix=prefix).schema


def convert(schema: Any, path: str, *, prefix: str = "d") -> Converted:
    """Raises BadParameter with a name under `path`.

    Definitions are called `prefix` and a number, for schemas that are put together to one.
    """
    if not isinstance(schema, dict):
        raise wrong(path, "must be an object")
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise wrong(path, f"is not JSON: {error}") from error
    if size > MAX_BYTES:
        raise wrong(path, f"has {size} bytes, and may have {MAX_BYTES}")
    try:
        return _Converter(schema, path, prefix).convert()
    except RecursionError as error:
        raise wrong(path, "is nested too deeply") from error


class _Converter:
    """One schema on its way. `open` marks what stands inside an object that is closed as a whole."""

    def __init__(self, schema: dict[str, Any], path: str, prefix: str) -> None:
        self._schema = schema
        self._path = path
        self._prefix = prefix
        self._references = References(schema, path)
        self._properties = 0
        self._items = 0
        self._multiples = 0
        self._nesting = 0  # depth of the definitions that are done
        self._depth = 0  # of the one at work
        self._names: dict[tuple[str, bool], str] = {}  # of definitions, by what they were and whether they are open
        self._waiting: list[tuple[str, bool]] = []
        self._definitions: dict[str, Any] = {}
        self._paths: dict[str, str] = {}  # of definitions, by name

    def convert(self) -> Converted:
        """The whole. Raises BadParameter."""
        self._paths[""] = self._path
        root = self._node(self._schema, self._path, 0, open=False)
        if root is False:
            raise wrong(self._path, "allows no answer")
        while self._waiting:
            pointer, is_open = self._waiting.pop()
            name = self._names[pointer, is_open]
            target, self._paths[name] = self._references.find(pointer, self._path)
            self._nesting, self._depth = self._nesting + self._depth + 1, 0
            if self._nesting > MAX_NESTING:
                raise wrong(
                    self._paths[name], f"the schema's definitions are more than {MAX_NESTING} schemas deep together"
                )
            self._definitions[name] = self._node(target, self._paths[name], 0, open=is_open)
        definitions = {"": root, **self._definitions}
        check_loops(definitions, self._paths)
        check_ends(definitions, self._paths)
        check_branches(definitions, self._paths)
        return Converted(root | {"$defs": self._definitions} if self._definitions else dict(root), self._paths)

    # -- one schema ----------------------------------------------------------------------------------------------

    def _node(self, schema: Any, path: str, depth: int, *, open: bool) -> Any:
        if isinstance(schema, bool):
            return {} if schema else False
        if not isinstance(schema, dict):
            raise wrong(path, "must be an object or a boolean")
        if depth > MAX_DEPTH:
            raise wrong(path, f"is more than {MAX_DEPTH} schemas deep")
        self._depth = max(self._depth, depth)
        schema = keywords.modern(schema, path)
        keywords.check_known(schema, path)
        made = keywords.scalars(schema, path)
        self._multiples += keywords.digits(made.get("multipleOf", 0))
        if self._multiples > MAX_MULTIPLE:
            raise wrong(
                under(path, "multipleOf"),
                f"may be at most {MAX_MULTIPLE}, added up over the schema without decimal points",
            )
        whole = not open and _is_combined(schema)
        inside = open or whole
        made |= self._object(schema, path, depth)
        made |= self._array(schema, path, depth)
        made |= self._in_place(schema, path, depth, open=inside)
        if "type" not in made and (inferred := keywords.inferred_type(schema)):
            made["type"] = inferred
        if not open:
            self._close(schema, made, path)
        return _single(made)

    def _in_place(self, schema: dict[str, Any], path: str, depth: int, *, open: bool) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if "$ref" in schema:
            made["$ref"] = self._reference(schema["$ref"], path, open=open)
        for keyword in IN_PLACE:
            if keyword in schema:
                made[keyword] = self._alternatives(keyword, schema[keyword], path, depth, open=open)
        if "oneOf" in made:
            self._replace_one_of(schema, made, path)
        return made

    def _alternatives(self, keyword: str, value: Any, path: str, depth: int, *, open: bool) -> list[Any]:
        here = under(path, keyword)
        if not isinstance(value, list) or not value:
            raise wrong(here, "must be a list of schemas")
        if len(value) > MAX_ALTERNATIVES:
            raise wrong(here, f"has {len(value)} schemas, and may have {MAX_ALTERNATIVES}")
        parts = [self._node(part, under(here, index), depth + 1, open=open) for index, part in enumerate(value)]
        if keyword != "allOf":
            parts = [part for part in parts if part is not False]
        if not parts or False in parts:
            raise wrong(here, "allows no answer")
        return parts

    def _replace_one_of(self, schema: dict[str, Any], made: dict[str, Any], path: str) -> None:
        """`anyOf` says the same where the alternatives exclude each other."""
        alternatives = made.pop("oneOf")
        if not exclude_each_other(schema["oneOf"], self._references):
            raise unenforceable(
                path,
                "oneOf",
                "its alternatives may overlap: use 'anyOf', or a required property with another 'const' in each",
            )
        if "anyOf" in made:
            made["allOf"] = [*made.get("allOf", []), {"anyOf": alternatives}]
        else:
            made["anyOf"] = alternatives

    def _reference(self, pointer: Any, path: str, *, open: bool) -> str:
        self._references.find(pointer, path)
        name = self._names.get((pointer, open))
        if name is None:
            name = self._names[pointer, open] = f"{self._prefix}{len(self._names)}"
            self._waiting.append((pointer, open))
        return f"#/$defs/{name}"

    # -- objects -------------------------------------------------------------------------------------------------

    def _object(self, schema: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for keyword in NAMING:
            if keyword in schema:
                made[keyword] = dict(self._named_schemas(keyword, schema[keyword], path, depth))
        if "additionalProperties" in schema:
            here = under(path, "additionalProperties")
            made["additionalProperties"] = self._node(schema["additionalProperties"], here, depth + 1, open=False)
        if "required" in schema:
            made["required"] = keywords.required(schema["required"], under(path, "required"))
        made |= keywords.property_counts(schema, path)
        if "propertyNames" in schema:
            self._apply_property_names(schema["propertyNames"], made, path)
        return made

    def _named_schemas(self, keyword: str, value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        here = under(path, keyword)
        if not isinstance(value, dict):
            raise wrong(here, "must be an object")
        self._properties += len(value)
        if self._properties > MAX_PROPERTIES:
            raise wrong(here, f"the schema names more than {MAX_PROPERTIES} properties")
        for name, part in value.items():
            if keyword == "patternProperties":
                keywords.check_pattern_at(name, under(here, name))
            yield name, self._node(part, under(here, name), depth + 1, open=False)

    def _apply_property_names(self, names: Any, made: dict[str, Any], path: str) -> None:
        """Names from a list become properties, and a pattern for them patternProperties."""
        names = self._references.resolved(names, path)
        if not isinstance(names, dict):
            raise unenforceable(path, "propertyNames")
        asked = {key for key in names if key not in keywords.ANNOTATIONS and key != "type"}
        if names.get("type", "string") != "string" or not asked <= {"enum", "const", "pattern"} or len(asked) > 1:
            raise unenforceable(path, "propertyNames", "only an 'enum' or a 'pattern' of names")
        if not asked:
            return
        if made.get("properties") or made.get("patternProperties"):
            raise unenforceable(path, "propertyNames", "beside 'properties' or 'patternProperties'")
        values = made.pop("additionalProperties", {})
        made["additionalProperties"] = False
        if "pattern" in asked:
            keywords.check_pattern_at(names["pattern"], under(under(path, "propertyNames"), "pattern"))
            made["patternProperties"] = {names["pattern"]: values}
            return
        listed = [names["const"]] if "const" in names else names["enum"]
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise wrong(under(path, "propertyNames"), "must list strings")
        self._properties += len(listed)
        made["properties"] = dict.fromkeys(listed, values)

    def _close(self, schema: dict[str, Any], made: dict[str, Any], path: str) -> None:
        """Name what may stand in this object, in its own words and in those that hold in the same place."""
        if "additionalProperties" not in made and schema.get("unevaluatedProperties") is not True:
            parts = self._references.in_place(schema, path) if _is_combined(schema) else [schema]
            if not any(map(_is_open, parts)):
                names = [name for part in parts for name in part.get("properties") or ()]
                if names or "properties" in made or "patternProperties" in made:
                    required = made.get("required", ())
                    made["properties"] = made.get("properties", {}) | {
                        name: {} for name in [*names, *required] if name not in made.get("properties", {})
                    }
                    made["additionalProperties"] = False
        optional = made.get("properties", {}).keys() - set(made.get("required", ()))
        if len(optional) > MAX_OPTIONAL:
            here = under(path, "properties")
            raise wrong(
                here, f"has {len(optional)} optional properties, and may have {MAX_OPTIONAL}: list more in 'required'"
            )

    # -- arrays --------------------------------------------------------------------------------------------------

    def _array(self, schema: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if "prefixItems" in schema:
            here = under(path, "prefixItems")
            if not isinstance(schema["prefixItems"], list):
                raise wrong(here, "must be a list of schemas")
            self._items += len(schema["prefixItems"])
            made["prefixItems"] = [
                self._node(part, under(here, index), depth + 1, open=False)
                for index, part in enumerate(schema["prefixItems"])
            ]
        if "items" in schema:
            made["items"] = self._node(schema["items"], under(path, "items"), depth + 1, open=False)
        counts = keywords.counts(schema, path, "minItems", "maxItems")
        self._items += sum(counts.values())
        if self._items > MAX_ITEMS:
            here = under(path, next(iter(counts), "prefixItems"))
            raise wrong(here, f"the schema counts more than {MAX_ITEMS} items")
        return made | counts


def _is_combined(schema: dict[str, Any]) -> bool:
    """Whether several schemas describe one object here, as opposed to each its own."""
    kinds = [keyword for keyword in ("$ref", *IN_PLACE) if keyword in schema]
    own = any(keyword in schema for keyword in (*NAMING, "additionalProperties", "unevaluatedProperties"))
    many = isinstance(schema.get("allOf"), list) and len(schema["allOf"]) > 1
    return bool(kinds) and (own or many or len(kinds) > 1)


def _is_open(schema: dict[str, Any]) -> bool:
    return schema.get("additionalProperties", False) is not False or "patternProperties" in schema


def _single(made: dict[str, Any]) -> dict[str, Any]:
    """Without an `allOf` of one schema that stands alone; beside a reference, all of it is an `allOf`."""
    if "$ref" in made and len(made) > 1:
        reference = {"$ref": made.pop("$ref")}
        made["allOf"] = [reference, *made.get("allOf", [])]
    if made.keys() == {"allOf"} and len(made["allOf"]) == 1:
        only: dict[str, Any] = made["allOf"][0]
        return only
    return made
