"""What a family is, and what its inputs may refer to."""

from collections.abc import Callable, Iterator
from random import Random

import msgspec

from bench.hostile.inputs import LIMIT, Input, create, posted, said

ROOM = LIMIT - 1024  # bytes for one field of a message, so that the whole stays within the limit


class Ground(msgspec.Struct, frozen=True):
    """What was honestly made on the node before: ids."""

    response: str = "resp_0"  # finished, kept, with a hundred events
    history: str = "resp_0"  # finished, kept, after many large items
    conversation: str = "conv_0"  # with many items


Build = Callable[[Ground, Random], Iterator[Input]]


class Family(msgspec.Struct, frozen=True):
    """Inputs that try one thing."""

    name: str
    what: str
    build: Build


def many(unit: str, size: int = ROOM, between: str = ",") -> str:
    """A text repeated until it has about so many bytes."""
    return between.join([unit] * (size // (len(unit.encode()) + len(between))))


def listed(unit: str, size: int = ROOM) -> str:
    """A JSON list of the same element, of about so many bytes."""
    return f"[{many(unit, size)}]"


def body(**fields: str) -> str:
    """A `response.create` whose fields are JSON texts, for what no encoder would write."""
    fixed = {"type": '"response.create"', "input": '"Hi"', "max_output_tokens": "8", "store": "false"}
    return "{" + ",".join(f'"{name}":{value}' for name, value in {**fixed, **fields}.items()) + "}"


def everywhere(name: str, event: object, *, runs: bool = False) -> Iterator[Input]:
    """A request as an event, as the body of a turn, and as something to be counted."""
    yield said(f"{name} (socket)", event, runs=runs)
    yield posted(f"{name} (POST)", "/v1/responses", event, runs=runs)
    yield posted(f"{name} (count)", "/v1/responses/input_tokens", event)


def made(name: str, *, runs: bool = False, **fields: object) -> Iterator[Input]:
    """The same of a request with these fields."""
    return everywhere(name, create(**fields), runs=runs)
