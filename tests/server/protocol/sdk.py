"""The official SDK's types as judges: what they cannot read, or do not know, fails."""

from collections.abc import Iterator
from typing import Any, get_args

from openai.types.responses.responses_server_event import ResponsesServerEvent
from pydantic import BaseModel


def _members(alias: Any) -> tuple[type[BaseModel], ...]:
    union = get_args(alias)[0]
    return get_args(union)


EVENTS = {get_args(model.model_fields["type"].annotation)[0]: model for model in _members(ResponsesServerEvent)}


def read_event(event: dict[str, Any], *, known: frozenset[str] = frozenset({"response.store"})) -> BaseModel:
    """Validate one event as the SDK's own class; nothing may be left over but what is `known` to be extra."""
    model = EVENTS[event["type"]].model_validate(event)
    left = set(unknown(model)) - known
    assert not left, f"{event['type']} has fields that the SDK does not know: {sorted(left)}"
    return model


def read(type: type[BaseModel], value: dict[str, Any], *, known: frozenset[str] = frozenset()) -> BaseModel:
    """Validate any other object."""
    model = type.model_validate(value)
    left = set(unknown(model)) - known
    assert not left, f"{type.__name__} has fields that the SDK does not know: {sorted(left)}"
    return model


def unknown(value: Any, at: str = "") -> Iterator[str]:
    """Paths of all fields that were left over, however deep."""
    if isinstance(value, BaseModel):
        yield from (f"{at}{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{at}{name}.")
    elif isinstance(value, list):
        for each in value:
            yield from unknown(each, at)
