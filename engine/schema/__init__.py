"""JSON schemas that an engine can hold an answer to, and the names of what it cannot. Pure: no engine is asked."""

from engine.schema.blame import Blame, blame
from engine.schema.check import FORMAT, check_params, enforced_tools, forces, tool_path
from engine.schema.convert import Converted, convert, enforceable

__all__ = [
    "FORMAT",
    "Blame",
    "Converted",
    "blame",
    "check_params",
    "convert",
    "enforceable",
    "enforced_tools",
    "forces",
    "tool_path",
]
