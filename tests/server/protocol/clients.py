"""First frames as real clients send them."""

from typing import Any

_GUIDE = "You are a coding agent that runs in a terminal. Be precise, safe and helpful. "


def codex_frame() -> dict[str, Any]:
    """Codex: about 40 KB of instructions and tools of many types, reasoning settings, nothing kept."""
    return {
        "type": "response.create",
        "model": "throughline-demo",
        "instructions": _GUIDE * 330,
        "input": [
            _message("developer", "<permissions>read-only</permissions>"),
            _message("user", "<environment_context><cwd>/src</cwd></environment_context>"),
            _message("user", "What is in this folder?"),
        ],
        "tools": [*(_function(number) for number in range(24)), *_OTHER_TOOLS],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto", "context": "all_turns"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "019a2f6e-2f41-7d30-9d3c-0c7cdb6c2f11",
        "text": {"verbosity": "medium"},
        "client_metadata": {"x-codex-installation-id": "7f9b", "x-codex-window-id": "1"},
    }


def codex_warm_up() -> dict[str, Any]:
    """The same before the user has typed anything."""
    return codex_frame() | {"input": [], "generate": False}


def codex_second_turn() -> dict[str, Any]:
    """The call's output, continued from the connection's memory."""
    return codex_frame() | {
        "previous_response_id": "resp_first",
        "input": [{"type": "function_call_output", "call_id": "call_1", "output": "README.md\n"}],
    }


def agents_frame() -> dict[str, Any]:
    """The Agents SDK: input items without a type, function tools in strict mode, its own settings left out."""
    return {
        "type": "response.create",
        "model": "throughline-demo",
        "instructions": "You are a helpful assistant.",
        "input": [{"role": "user", "content": "What is the weather in Zürich?"}],
        "tools": [
            {
                "type": "function",
                "name": "get_weather",
                "description": "Get the weather.",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                    "additionalProperties": False,
                },
                "strict": True,
            }
        ],
        "include": [],
        "stream": True,
        "metadata": {"trace": "trace_1"},
    }


def agents_full_input() -> dict[str, Any]:
    """Its second turn with the whole history: output items as they came, plus the tool's result."""
    return agents_frame() | {
        "input": [
            {"role": "user", "content": "What is the weather in Zürich?"},
            {
                "id": "fc_1",
                "type": "function_call",
                "call_id": "call_1",
                "name": "get_weather",
                "arguments": '{"city":"Zürich"}',
                "status": "completed",
            },
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "It rains.", "annotations": [], "logprobs": []}],
            },
            {"role": "user", "content": [{"type": "input_text", "text": "And tomorrow?"}]},
        ]
    }


def _message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def _function(number: int) -> dict[str, Any]:
    properties = {f"argument_{index}": {"type": "string", "description": "A path. " * 4} for index in range(4)}
    return {
        "type": "function",
        "name": f"tool_{number}",
        "description": "Runs something and returns its output. " * 3,
        "strict": False,
        "parameters": {"type": "object", "properties": properties, "required": [], "additionalProperties": False},
    }


_OTHER_TOOLS: list[dict[str, Any]] = [
    {"type": "namespace", "name": "mcp__files", "description": "Files.", "tools": [_function(99)]},
    {"type": "web_search", "external_web_access": True},
    {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
    },
    {"type": "local_shell"},
]
