"""How a request asks to be sampled, in the engine's words."""

from typing import Any

from engine.base import Format, Params
from server.protocol.request import Request

SAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


def params_of(request: Request) -> Params:
    """Ranges are the engine's to check; here only names and shapes change."""
    chosen: dict[str, Any] = {name: getattr(request, name) for name in SAME}
    return Params(
        **chosen,
        max_tokens=request.max_output_tokens,
        stop=_stop(request),
        ignore_eos=bool(request.ignore_eos),
        logprobs=bool(request.top_logprobs) or "message.output_text.logprobs" in (request.include or ()),
        top_logprobs=request.top_logprobs or 0,
        format=_format(request),
        tools=tuple(request.function_tools),
        tool_choice=request.tool_choice or "auto",
        parallel_tool_calls=request.parallel_tool_calls is not False,
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
    )


def _stop(request: Request) -> tuple[str, ...]:
    return (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())


def _format(request: Request) -> Format | None:
    asked = request.text.format if request.text else None
    if asked is None or asked.type == "text":
        return None
    return Format(asked.type, asked.schema)
