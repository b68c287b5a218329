"""A turn's record: what any node needs to run the turn and to show it, as it is kept in the turn's hash."""

from array import array
from typing import Any

import msgspec
import orjson

from engine.base import Params, Prompt
from server.protocol.connection import Remembered

_params = msgspec.msgpack.Decoder(Params)


class Record(msgspec.Struct, frozen=True):
    """The parts of a turn that never change."""

    response: dict[str, Any]  # as created
    prompt: Prompt
    params: Params
    model: str  # version that rendered the prompt: only the same one may run it
    lane: str | None = None
    generates: bool = True
    input: tuple[
        dict[str, Any], ...
    ] = ()  # unkept turns only: all items before the answer, since nothing else has them
    asked: float = 0.0  # wall-clock seconds, for durations across nodes
    trace: str = ""  # traceparent of the turn's first span

    @property
    def suffix(self) -> str:
        """What makes the ids of this turn's items its own."""
        id: str = self.response["id"]
        return id.removeprefix("resp_")

    @property
    def structured(self) -> bool:
        """Whether the answer follows a grammar."""
        return self.params.format is not None

    def remembered(self, output: list[dict[str, Any]]) -> Remembered:
        """What a connection needs to continue from this turn once it said `output`."""
        return Remembered(self.response["id"], (*self.input, *output))


def pack(record: Record) -> dict[str, bytes]:
    """As hash fields."""
    return {
        "response": orjson.dumps(record.response),
        "prompt": array("I", record.prompt.token_ids).tobytes(),
        "salt": (record.prompt.salt or "").encode(),
        "params": msgspec.msgpack.encode(record.params),
        "model": record.model.encode(),
        "lane": (record.lane or "").encode(),
        "generates": b"1" if record.generates else b"",
        "input": orjson.dumps(record.input) if record.input else b"",
        "asked": repr(record.asked).encode(),
        "trace": record.trace.encode(),
    }


def unpack(fields: dict[str, bytes]) -> Record:
    """From hash fields. Raises KeyError, ValueError, msgspec.DecodeError where another version wrote them."""
    ids = array("I")
    ids.frombytes(fields["prompt"])
    return Record(
        response=orjson.loads(fields["response"]),
        prompt=Prompt(tuple(ids), fields["salt"].decode() or None),
        params=_params.decode(fields["params"]),
        model=fields["model"].decode(),
        lane=fields["lane"].decode() or None,
        generates=bool(fields["generates"]),
        input=tuple(orjson.loads(fields["input"] or b"[]")),
        asked=float(fields["asked"]),
        trace=fields["trace"].decode(),
    )
