"""A value that fits a schema, as far as the scripted engine goes: patterns, formats and lengths it leaves aside."""

from typing import Any

from engine.base import BadParameter
from engine.schema import FORMAT, enforceable
from engine.schema.analysis import PREFIX, ranks

WHOLE = 200  # values up to which optional properties are there too
MOST = 5000  # values in one answer
SIMPLE: dict[str, Any] = {"string": "ka lo", "integer": 7, "number": 0.5, "boolean": True, "null": None}


def example(schema: dict[str, Any]) -> Any:
    """Every property while the value is small, then what is required. Raises BadParameter, as `enforceable` does."""
    made = enforceable(schema or {"type": "object"}, FORMAT)
    return _Example({"": made, **made.get("$defs", {})}).value(made)


class _Example:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._ranks = ranks(definitions)
        self._count = 0  # of values so far

    def value(self, schema: Any) -> Any:
        """Of one schema in place of all that hold there."""
        self._count += 1
        if self._count > MOST:
            raise BadParameter(FORMAT, "needs an answer that is too large for this engine")
        flat = self._flat(schema)
        if "const" in flat or "enum" in flat:
            return flat["const"] if "const" in flat else flat["enum"][0]
        kind = flat.get("type", "object")
        kind = kind if isinstance(kind, str) else next((name for name in kind if name in SIMPLE), kind[0])
        if kind == "object":
            return self._object(flat)
        if kind == "array":
            return self._array(flat)
        return self._number(flat, kind) if kind in ("integer", "number") else SIMPLE[kind]

    def _flat(self, schema: Any) -> dict[str, Any]:
        """What holds in one place as one schema, of several alternatives the one that ends soonest."""
        if not isinstance(schema, dict):
            return {}
        made = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "allOf", "$defs")}
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            parts.append(self._definitions[schema["$ref"].removeprefix(PREFIX)])
        if "anyOf" in schema:
            parts.append(min(schema["anyOf"], key=self._rank))
        for flat in map(self._flat, parts):
            named = made.get("properties", {}) | flat.get("properties", {})
            required = [*made.get("required", ()), *flat.get("required", ())]
            made = {**made, **flat, **({"properties": named} if named else {}), "required": required}
        return made

    def _rank(self, schema: Any) -> int:
        """How many definitions lie between this schema and an answer without any."""
        if not isinstance(schema, dict):
            return 0
        own = self._ranks[schema["$ref"].removeprefix(PREFIX)] + 1 if "$ref" in schema else 0
        needed = [schema.get("properties", {}).get(name) for name in schema.get("required", ())]
        needed += [*schema.get("allOf", ()), *([schema.get("items")] if schema.get("minItems") else [])]
        alternatives = min(map(self._rank, schema["anyOf"])) if "anyOf" in schema else 0
        return max([own, alternatives, *map(self._rank, needed)])

    def _object(self, flat: dict[str, Any]) -> dict[str, Any]:
        required, properties = flat.get("required", ()), flat.get("properties", {})
        names = [name for name, part in properties.items() if name in required or (part and self._count < WHOLE)]
        return {name: self.value(properties[name] or {"type": "string"}) for name in names}

    def _array(self, flat: dict[str, Any]) -> list[Any]:
        first = flat.get("prefixItems", [])
        least = max(flat.get("minItems", 0), 1 if self._count < WHOLE and flat.get("maxItems", 1) else 0)
        rest = flat.get("items", {"type": "string"})
        count = least if rest is not False else min(least, len(first))
        return [self.value(first[index] if index < len(first) else rest) for index in range(count)]

    def _number(self, flat: dict[str, Any], kind: str) -> Any:
        low, high = flat.get("minimum"), flat.get("maximum")
        value = SIMPLE[kind]
        value = value if low is None else max(low, value)
        return value if high is None else min(high, value)
