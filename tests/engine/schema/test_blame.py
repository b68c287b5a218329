from typing import Any

from engine.schema import Blame, blame, convert


def refuses_z(schema: dict[str, Any]) -> str | None:
    """As a library that sees one pattern in all of it."""
    return "z is refused" if '"z"' in str(schema).replace("'", '"') else None


def found(schema: dict[str, Any]) -> Blame | None:
    return blame(convert(schema, "s"), refuses_z)


def test_nothing_is_to_blame_in_what_is_taken() -> None:
    assert found({"type": "string"}) is None


def test_the_keyword_inside_everything_is() -> None:
    bad = {"type": "string", "pattern": "z"}
    assert found({"properties": {"a": {"type": "null"}, "b": {"items": {"anyOf": [{"type": "null"}, bad]}}}}) == Blame(
        "s.properties.b.items.anyOf[1].pattern", "z is refused"
    )


def test_it_is_found_behind_references() -> None:
    schema = {"$defs": {"A": {"properties": {"b": {"$ref": "#/$defs/B"}}}, "B": {"type": "string", "pattern": "z"}}}
    assert found({**schema, "$ref": "#/$defs/A"}) == Blame("s.$defs.B.pattern", "z is refused")


def test_a_library_is_not_asked_for_ever() -> None:
    asked: list[Any] = []

    def refusal(schema: dict[str, Any]) -> str | None:
        asked.append(schema)
        return "refused" if len(asked) == 1 else None

    blamed = blame(convert({"properties": {f"p{i}": {"type": "null"} for i in range(400)}}, "s"), refusal)
    assert blamed == Blame("s", "refused")
    assert len(asked) <= 310
