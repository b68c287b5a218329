"""The response object, as its turn begins and as it ends."""

from typing import Any

import msgspec

from server.protocol.request import Request, Text
from server.protocol.status import Status


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one turn."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def body(self) -> dict[str, Any]:
        """`response.usage` as the public API has it."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": 0},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


def created(request: Request, id: str, created_at: int, model: str) -> dict[str, Any]:
    """The response as its turn begins: what was asked, and nothing said yet."""
    return {
        "id": id,
        "object": "response",
        "created_at": created_at,
        "status": Status.IN_PROGRESS,
        "background": bool(request.background),
        "completed_at": None,
        "conversation": {"id": request.conversation_id} if request.conversation_id else None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": _reasoning(request),
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.kept,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": _text(request),
        "tool_choice": request.tool_choice or "auto",
        "tools": [_tool(tool) for tool in request.function_tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
    }


def ended(
    response: dict[str, Any],
    status: Status,
    output: list[dict[str, Any]],
    usage: Usage,
    completed_at: int,
    *,
    reason: str | None = None,
    error: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The response as its turn ends. `reason` says what made it incomplete, `error` is (code, message)."""
    return {
        **response,
        "status": status,
        "completed_at": completed_at if status is Status.COMPLETED else None,
        "error": {"code": error[0], "message": error[1]} if error else None,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": usage.body(),
    }


def _reasoning(request: Request) -> dict[str, Any]:
    asked = request.reasoning
    return {"effort": asked.effort if asked else None, "summary": asked.summary if asked else None}


def _text(request: Request) -> dict[str, Any]:
    text = request.text or Text()
    shape = {
        "format": msgspec.to_builtins(text.format) | {"type": text.format.type} if text.format else {"type": "text"}
    }
    return shape | ({"verbosity": text.verbosity} if text.verbosity else {})


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": None, "strict": None, **tool}
