from typing import Any

import pytest

from engine.base import BadParameter, Format, Params
from engine.schema import check_params, enforced_tools, forces

BAD = {"type": "object", "properties": {"a": {"not": {}}}}
GOOD = {"type": "object", "properties": {"a": {"type": "string"}}}


def tool(name: str, parameters: Any, **others: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": parameters, **others}


TOOLS = (tool("free", GOOD), tool("strict", GOOD, strict=True))


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [("auto", [1]), ("required", [0, 1]), ("none", []), ({"type": "function", "name": "free"}, [0])],
)
def test_strict_tools_and_forced_ones_follow_their_schema(choice: Any, wanted: list[int]) -> None:
    params = Params(tools=TOOLS, tool_choice=choice)
    assert forces(params) == wanted
    assert [
        index for index, each in enumerate(enforced_tools(params)) if "additionalProperties" in each["parameters"]
    ] == wanted


@pytest.mark.parametrize(
    ("params", "name"),
    [
        (Params(format=Format("json_schema", BAD)), "text.format.schema.properties.a.not"),
        (Params(tools=(TOOLS[0], tool("b", BAD)), tool_choice="required"), "tools[1].parameters.properties.a.not"),
        (Params(tools=(tool("b", BAD, strict=True),)), "tools[0].parameters.properties.a.not"),
        (Params(tools=(tool("b", {"type": "string"}, strict=True),)), "tools[0].parameters.type"),
        (Params(tools=tuple(tool(f"t{i}", {"description": "a" * 9000}, strict=True) for i in range(20))), "tools"),
    ],
)
def test_what_is_refused_has_its_name_on_the_wire(params: Params, name: str) -> None:
    with pytest.raises(BadParameter) as caught:
        check_params(params)
    assert caught.value.name == name


def test_a_tool_that_nothing_holds_to_its_schema_may_have_any() -> None:
    check_params(Params(tools=(tool("b", BAD),)))
    check_params(Params(tools=(tool("b", BAD, strict=True),), tool_choice="none"))


def test_a_forced_tool_without_parameters_takes_an_object() -> None:
    (made,) = enforced_tools(Params(tools=({"type": "function", "name": "a"},), tool_choice="required"))
    assert made["parameters"] == {"type": "object"}
    assert made["strict"] is True
