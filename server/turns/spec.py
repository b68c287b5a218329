"""A turn's record: what any node needs to run the turn and to show it, as it is kept in the turn's hash."""

from array import array
from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from engine.base import Params, Prompt
from server.protocol.connection import Remembered
from server.store.types import Checkpoint


class PromptRef(msgspec.Struct, frozen=True):
    """What a prompt is rendered from again, and how it is known to be the same one."""

    parent: Checkpoint | None  # what was said before; the turn's own input comes behind it
    dropped: int  # oldest items that were left out, so that the rest fits
    tokens: int
    digest: bytes  # of the token ids, as `ids_of` gives them


_params = msgspec.msgpack.Decoder(Params)
_prompt_ref = msgspec.msgpack.Decoder(PromptRef)


class TurnSpec(msgspec.Struct, frozen=True):
    """The parts of a turn that never change."""

    response: dict[str, Any]  # as created
    prompt: Prompt | None  # None: it is rendered again, where somebody goes on with the turn
    params: Params
    model_version: str  # version that rendered the prompt: only the same one may run it
    lane: str | None = None
    generates: bool = True
    input: tuple[
        dict[str, Any], ...
    ] = ()  # unkept turns only: all items before the answer, since nothing else has them
    requested_at: float = 0.0  # wall-clock seconds, for durations across nodes
    traceparent: str = ""  # traceparent of the turn's first span
    prompt_ref: PromptRef | None = None  # None: the prompt itself is kept

    @property
    def prompt_tokens(self) -> int:
        """How long the prompt is."""
        if self.prompt is not None:
            return len(self.prompt.token_ids)
        return self.prompt_ref.tokens if self.prompt_ref is not None else 0

    @property
    def keeps(self) -> bool:
        """`store: true`: the response outlives its log, and can be continued from anywhere."""
        return bool(self.response["store"])

    @property
    def suffix(self) -> str:
        """What makes the ids of this turn's items its own."""
        id: str = self.response["id"]
        return id.removeprefix("resp_")

    def remembered(self, output: list[dict[str, Any]]) -> Remembered:
        """What a connection needs to continue from this turn once it said `output`."""
        return Remembered(self.response["id"], orjson.dumps((*self.input, *output)))


def ids_of(prompt: Prompt) -> bytes:
    """Token ids, four bytes each."""
    return array("I", prompt.token_ids).tobytes()


def digest_of(ids: bytes) -> bytes:
    """What tells two prompts apart."""
    return blake2b(ids, digest_size=16).digest()


def pack(spec: TurnSpec) -> dict[str, bytes]:
    """As hash fields; where there is a reference, without the prompt, which is as long as all that was said before."""
    return _prompt(spec) | {
        "response": orjson.dumps(spec.response),
        "params": msgspec.msgpack.encode(spec.params),
        "model": spec.model_version.encode(),
        "lane": (spec.lane or "").encode(),
        "generates": b"1" if spec.generates else b"",
        "input": orjson.dumps(spec.input) if spec.input else b"",
        "asked": repr(spec.requested_at).encode(),
        "trace": spec.traceparent.encode(),
    }


def _prompt(spec: TurnSpec) -> dict[str, bytes]:
    if spec.prompt_ref is not None:
        return {"recipe": msgspec.msgpack.encode(spec.prompt_ref)}
    if spec.prompt is None:
        raise ValueError("a turn without a prompt and without a reference to one")
    return {"prompt": ids_of(spec.prompt), "salt": (spec.prompt.salt or "").encode()}


def unpack(fields: dict[str, bytes]) -> TurnSpec:
    """From hash fields. Raises KeyError, ValueError, msgspec.DecodeError where another version wrote them."""
    whole = "prompt" in fields
    return TurnSpec(
        response=orjson.loads(fields["response"]),
        prompt=_prompt_of(fields) if whole else None,
        prompt_ref=None if whole else _prompt_ref.decode(fields["recipe"]),
        params=_params.decode(fields["params"]),
        model_version=fields["model"].decode(),
        lane=fields["lane"].decode() or None,
        generates=bool(fields["generates"]),
        input=tuple(orjson.loads(fields["input"] or b"[]")),
        requested_at=float(fields["asked"]),
        traceparent=fields["trace"].decode(),
    )


def _prompt_of(fields: dict[str, bytes]) -> Prompt:
    ids = array("I")
    ids.frombytes(fields["prompt"])
    return Prompt(tuple(ids), fields["salt"].decode() or None)
