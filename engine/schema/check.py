"""Which schemas of a request an answer is held to, and whether it can be."""

import json
from typing import Any

from engine.base import BadParameter, Params
from engine.schema.convert import enforceable
from engine.schema.limits import MAX_BYTES

FORMAT = "text.format.schema"


def check_params(params: Params) -> None:
    """Raise BadParameter, with a name on the wire, for the first schema that no answer can be held to."""
    if params.format is not None and params.format.type == "json_schema":
        enforceable(params.format.schema or {}, FORMAT)
    enforced_tools(params)


def enforced_tools(params: Params) -> tuple[dict[str, Any], ...]:
    """The tools, those with strict arguments as `strict` and with parameters that a grammar follows."""
    forced = forces(params)
    if sum(len(json.dumps(params.tools[index].get("parameters"))) for index in forced) > MAX_BYTES:
        raise BadParameter("tools", f"the parameters have more than {MAX_BYTES} bytes")
    return tuple(_enforced(tool, index) if index in forced else tool for index, tool in enumerate(params.tools))


def forces(params: Params) -> list[int]:
    """Which tools' calls follow their schema: those that are strict, and all that a call is forced of."""
    choice = params.tool_choice
    if choice == "none":
        return []
    if isinstance(choice, dict):
        return [index for index, tool in enumerate(params.tools) if tool.get("name") == choice.get("name")]
    return [index for index, tool in enumerate(params.tools) if choice == "required" or tool.get("strict") is True]


def tool_path(index: int) -> str:
    """The name of a tool's schema on the wire."""
    return f"tools[{index}].parameters"


def _enforced(tool: dict[str, Any], index: int) -> dict[str, Any]:
    parameters = tool.get("parameters")
    if parameters is None:
        parameters = {"type": "object"}
    made = enforceable(parameters, tool_path(index), prefix=f"t{index}d")
    if made.get("type") not in (None, "object"):
        raise BadParameter(f"{tool_path(index)}.type", "must be object")
    return tool | {"strict": True, "parameters": made}
