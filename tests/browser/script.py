"""What a scripted answer looks like on the wire."""

from __future__ import annotations

import time
from typing import Any

Event = dict[str, Any]

ENDS = {"response.completed", "response.incomplete", "response.failed"}


def message(id_: str, role: str, part: str, text: str) -> dict[str, Any]:
    content = [{"type": part, "text": text}]
    return {"id": id_, "type": "message", "role": role, "status": "completed", "content": content}


def response(id_: str, status: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "object": "response", "status": status, "created_at": int(time.time()), "output": [], **more}


def error(status: int, code: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"type": "error", "code": code, "message": text, "param": None, **more}
    return {"type": "error", "status": status, "error": body}


def script(id_: str, text: str, chunk: int, thoughts: str, failure: dict[str, Any] | None) -> list[Event]:
    """The events of a turn, their numbers apart."""
    return [
        {"type": "response.created", "response": response(id_, "queued")},
        {"type": "response.in_progress", "response": response(id_, "in_progress")},
        *(reasoning(id_, thoughts) if thoughts else ()),
        *answer(id_, text, chunk, 1 if thoughts else 0),
        ending(id_, len(text) // 4, failure),
    ]


def ending(id_: str, tokens: int, failure: dict[str, Any] | None) -> Event:
    if failure:
        return {"type": "response.failed", "response": response(id_, "failed", error=failure)}
    return {"type": "response.completed", "response": response(id_, "completed", usage={"output_tokens": tokens})}


def reasoning(id_: str, text: str) -> list[Event]:
    item: dict[str, Any] = {"id": f"rs_{id_}", "type": "reasoning", "summary": [], "content": []}
    place = {"output_index": 0, "content_index": 0, "item_id": item["id"]}
    whole = {**item, "status": "completed", "content": [{"type": "reasoning_text", "text": text}]}
    return [
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
        {"type": "response.reasoning_text.delta", **place, "delta": text},
        {"type": "response.reasoning_text.done", **place, "text": text},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
    ]


def answer(id_: str, text: str, chunk: int, index: int) -> list[Event]:
    whole = message(f"msg_{id_}", "assistant", "output_text", text)
    begun = {**whole, "status": "in_progress", "content": []}
    place = {"output_index": index, "content_index": 0, "item_id": whole["id"]}
    deltas = [text[start : start + chunk] for start in range(0, len(text), chunk)]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        {"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": delta} for delta in deltas),
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.content_part.done", **place, "part": {"type": "output_text", "text": text}},
        {"type": "response.output_item.done", "output_index": index, "item": whole},
    ]
