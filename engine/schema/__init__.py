"""JSON schemas that an engine can hold an answer to, and the names of what it cannot. Pure: no engine is asked."""

from engine.schema.check import check_params, enforced_tools, forces, tool_path
from engine.schema.convert import enforceable

__all__ = ["check_params", "enforceable", "enforced_tools", "forces", "tool_path"]
