"""Input and output items: checking them, naming them, and reading them as chat messages."""

from collections.abc import Iterable, Sequence
from typing import Any

from server.protocol.errors import WireError, invalid

ROLES = frozenset({"user", "assistant", "system", "developer"})
TEXT_PARTS = frozenset({"input_text", "output_text", "text", "refusal", "reasoning_text", "summary_text"})
PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def check_items(items: Sequence[Any], at: str) -> None:
    """Raise WireError with the path of the first thing that is wrong."""
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise invalid(f"Invalid '{at}[{index}]': expected an object.", f"{at}[{index}]", "invalid_type")
        _check_item(item, f"{at}[{index}]")


def kind_of(item: dict[str, Any]) -> str:
    """`type`, which messages may lack."""
    return str(item.get("type") or ("message" if "role" in item else ""))


def named(items: Iterable[dict[str, Any]], suffix: str) -> list[dict[str, Any]]:
    """Items as they are stored and listed: with our own ids, a type, a status, and content as a list of parts."""
    return [_named(item, f"{PREFIXES[kind_of(item)]}_{suffix}{index:02x}") for index, item in enumerate(items)]


def to_messages(instructions: str | None, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chat messages as templates read them: one system message in front, calls and reasoning joined to the answer."""
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": [instructions]})
    for item in items:
        _READERS[kind_of(item)](messages, item)
    for message in messages:
        if message["role"] == "system":  # texts that follow each other, joined once: there may be thousands
            message["content"] = "\n\n".join(message["content"])
    return messages


def text_of(content: Any) -> str:
    """All text of a content field."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content or ())


def _check_item(item: dict[str, Any], at: str) -> None:
    kind = kind_of(item)
    if kind not in PREFIXES:
        what = f"'{kind}' items are not supported" if kind else "expected a 'type' or a 'role'"
        raise invalid(
            f"Invalid '{at}.type': {what}.", f"{at}.type", "unsupported_parameter" if kind else "invalid_type"
        )
    _CHECKS[kind](item, at)


def _check_message(item: dict[str, Any], at: str) -> None:
    if not _is_one_of(item.get("role"), ROLES):
        raise invalid(f"Invalid '{at}.role': expected one of {', '.join(sorted(ROLES))}.", f"{at}.role")
    _check_content(item.get("content"), f"{at}.content")


def _check_content(content: Any, at: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid(f"Invalid '{at}': expected a string or a list of parts.", at, "invalid_type")
    for index, part in enumerate(content):
        _check_part(part, f"{at}[{index}]")


def _check_part(part: Any, at: str) -> None:
    if not isinstance(part, dict):
        raise invalid(f"Invalid '{at}': expected an object.", at, "invalid_type")
    if not _is_one_of(part.get("type"), TEXT_PARTS):
        raise _unreadable(part, at)
    if not isinstance(part.get("text", part.get("refusal")), str):
        raise invalid(f"Missing required parameter: '{at}.text'.", f"{at}.text", "missing_required_parameter")


def _is_one_of(value: Any, known: frozenset[str]) -> bool:
    """Clients can send lists and objects here, which no set can be asked for."""
    return isinstance(value, str) and value in known


def _unreadable(part: dict[str, Any], at: str) -> WireError:
    return invalid(
        f"Invalid '{at}.type': this model reads text, not '{part.get('type')}'.", f"{at}.type", "unsupported_parameter"
    )


def _check_call(item: dict[str, Any], at: str) -> None:
    _need_strings(item, at, "call_id", "name", "arguments")


def _check_output(item: dict[str, Any], at: str) -> None:
    _need_strings(item, at, "call_id")
    _check_content(item.get("output"), f"{at}.output")


def _check_reasoning(item: dict[str, Any], at: str) -> None:
    for name in ("content", "summary"):
        if item.get(name) is not None:
            _check_content(item[name], f"{at}.{name}")


def _need_strings(item: dict[str, Any], at: str, *names: str) -> None:
    for name in names:
        if not isinstance(item.get(name), str):
            raise invalid(f"Missing required parameter: '{at}.{name}'.", f"{at}.{name}", "missing_required_parameter")


def _named(item: dict[str, Any], id: str) -> dict[str, Any]:
    kind = kind_of(item)
    named = {**item, "id": id, "type": kind, "status": item.get("status") or "completed"}
    if kind == "message":
        part = "output_text" if item["role"] == "assistant" else "input_text"
        named["content"] = _parts(item["content"], part)
    if kind == "reasoning":
        named["summary"] = _parts(item.get("summary") or [], "summary_text")
        named["content"] = _parts(item.get("content") or [], "reasoning_text")
    return named


def _parts(content: Any, type: str) -> list[dict[str, Any]]:
    parts = [{"type": type, "text": content}] if isinstance(content, str) else content
    return [_part(part, type) for part in parts]


def _part(part: dict[str, Any], type: str) -> dict[str, Any]:
    whole = {**part, "type": type} if part["type"] in {"text", "input_text"} else part
    return {"annotations": [], **whole} if whole["type"] == "output_text" else whole


def _read_message(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    role = "system" if item["role"] == "developer" else item["role"]
    text = text_of(item["content"])
    last = messages[-1] if messages else None
    if role == "system":
        if last and last["role"] == "system":
            last["content"].append(text)
        else:
            messages.append({"role": role, "content": [text]})
    elif last and role == "assistant" and last["role"] == "assistant" and last.get("content") is None:
        last["content"] = text
    else:
        messages.append({"role": role, "content": text})


def _read_reasoning(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    text = text_of(item.get("content")) or text_of(item.get("summary"))
    if text:
        messages.append({"role": "assistant", "content": None, "reasoning": text})


def _read_call(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    function = {"name": item["name"], "arguments": item["arguments"]}
    messages[-1].setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})


def _read_output(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text_of(item["output"])})


_CHECKS = {
    "message": _check_message,
    "function_call": _check_call,
    "function_call_output": _check_output,
    "reasoning": _check_reasoning,
}
_READERS = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_output,
    "reasoning": _read_reasoning,
}
