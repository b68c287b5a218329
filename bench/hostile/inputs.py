"""What is sent: bytes on a connection, with pauses between them, and what the sender waits for. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bench.wire import CONTINUATION, FINAL, PING, TEXT, masked

LIMIT = 1 << 20  # MAX_MESSAGE_BYTES of the nodes that are tried
UNMASKED = bytes(4)  # a mask that changes nothing: it costs the sender no time
SOCKET = "/v1/responses"
TOKENS = 8  # of an answer that is wanted only to see that there is one
CODES = (1000, 1001, 1007, 1008, 1009, 1012, 1013)  # RFC 6455, 7.4.1


class Piece(msgspec.Struct, frozen=True):
    """Bytes that are written at once, `pause` seconds after the ones before."""

    data: bytes
    pause: float = 0.0


class Input(msgspec.Struct, frozen=True):
    """One thing that a client does on a connection of its own."""

    name: str
    pieces: Sequence[Piece]
    upgraded: bool = False  # the pieces are frames on a socket whose handshake was honest
    target: str = SOCKET  # of that handshake
    answers: int = 1  # that are due; 0: whatever the node says or does not say is right, as long as it lives
    runs: bool = False  # starts a turn, if it is let in
    reads: bool = True  # False: never takes a byte of what the node says
    wait: float = 20.0  # seconds for the answers

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(len(piece.data) for piece in self.pieces)


# -- over a socket ---------------------------------------------------------------------------------------------------


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole message in one masked frame."""
    return masked(opcode, payload, UNMASKED)


def raw_frame(first: int, payload: bytes) -> bytes:
    """A frame with any first byte: reserved bits, unknown opcodes, fragments."""
    whole = masked(first & 0x0F, payload, UNMASKED)
    return bytes((first,)) + whole[1:]


def fragments(payload: bytes, each: int, between: bytes = b"") -> bytes:
    """One message in many frames; `between` goes between any two."""
    parts = [payload[at : at + each] for at in range(0, len(payload), each)] or [b""]
    first, *rest = parts
    frames = [raw_frame(TEXT, first), *(raw_frame(CONTINUATION, part) for part in rest)]
    frames.append(raw_frame(FINAL | CONTINUATION, b""))
    return between.join(frames)


def pings(count: int, payload: bytes = b"") -> bytes:
    """So many pings."""
    return frame(payload, PING) * count


def encoded(value: Any) -> bytes:
    """JSON; a text stays as it is, since some inputs are no JSON that could be written."""
    return value.encode() if isinstance(value, str) else json.dumps(value, separators=(",", ":")).encode()


def said(name: str, event: Any, *, runs: bool = False, **more: Any) -> Input:
    """One event in one text frame."""
    return Input(name, (Piece(frame(encoded(event))),), upgraded=True, runs=runs, **more)


def spoken(name: str, events: Sequence[Any], *, runs: bool = False, **more: Any) -> Input:
    """Many events in one write; each is due an answer."""
    data = b"".join(frame(encoded(event)) for event in events)
    return Input(name, (Piece(data),), upgraded=True, answers=len(events), runs=runs, **more)


def framed(name: str, data: bytes, *, answers: int = 1, **more: Any) -> Input:
    """Frames as they are."""
    return Input(name, (Piece(data),), upgraded=True, answers=answers, **more)


def create(**fields: Any) -> dict[str, Any]:
    """A `response.create` of an answer that is short and not kept, with some fields."""
    return {"type": "response.create", "input": "Hi", "max_output_tokens": TOKENS, "store": False, **fields}


# -- over HTTP -------------------------------------------------------------------------------------------------------


def http(
    method: str, path: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = (), host: str = "localhost"
) -> bytes:
    """A request, whatever is in it."""
    fixed = [("host", host), ("content-type", "application/json")] if body else [("host", host)]
    names = {name.lower() for name, _ in headers}
    if "content-length" not in names and "transfer-encoding" not in names:
        fixed.append(("content-length", str(len(body))))
    lines = "".join(f"{name}: {value}\r\n" for name, value in [*(f for f in fixed if f[0] not in names), *headers])
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def posted(name: str, path: str, body: Any, *, runs: bool = False, method: str = "POST", **headers: str) -> Input:
    """A request with a JSON body; `headers` have underscores for hyphens."""
    pairs = [(key.replace("_", "-"), value) for key, value in headers.items()]
    return Input(name, (Piece(http(method, path, encoded(body), pairs)),), runs=runs)


def asked(name: str, path: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (), **more: Any) -> Input:
    """A request without a body."""
    return Input(name, (Piece(http(method, path, b"", headers)),), **more)


def handshake(target: str = SOCKET, headers: Iterable[tuple[str, str]] = (), *, host: str = "localhost") -> bytes:
    """The request for an upgrade, whatever is in it."""
    fixed = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")]
    fixed.append(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="))
    names = {name.lower() for name, _ in headers}
    lines = [f"{name}: {value}\r\n" for name, value in [*(f for f in fixed if f[0] not in names), *headers]]
    return f"GET {target} HTTP/1.1\r\nhost: {host}\r\n{''.join(lines)}\r\n".encode()


def dripped(name: str, data: bytes, step: int, pause: float, **more: Any) -> Input:
    """Bytes that come a few at a time."""
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    return Input(name, tuple(Piece(part, pause) for part in parts), **more)


# -- the control -----------------------------------------------------------------------------------------------------


def harmless(hostile: Input) -> Input:
    """What an honest client sends with as many bytes, in as many writes at the same times.

    A turn becomes a short chat, anything else a question about a turn that does not exist, or a look at the model:
    with a field that the server ignores, as long as it takes.
    """
    pieces: list[Piece] = []
    answers = 0
    for piece in hostile.pieces:
        messages = [_honest(hostile, part) for part in _parts(len(piece.data), _turns(hostile))]
        answers += len(messages)
        pieces.append(Piece(b"".join(messages), piece.pause))
    many = len(pieces) > 1
    return Input(hostile.name, tuple(pieces), hostile.upgraded, answers=0 if many else answers, runs=hostile.runs)


def _turns(hostile: Input) -> int:
    return hostile.answers if hostile.runs and hostile.upgraded and len(hostile.pieces) == 1 else 1


def _parts(size: int, count: int) -> list[int]:
    """Sizes of messages: as many as there were where each may start a turn, else as few as the limit lets through."""
    if count > 1:
        return [size // count] * count
    whole, rest = divmod(size, LIMIT // 2)
    return [LIMIT // 2] * whole + ([rest] if rest or not whole else [])


def _honest(hostile: Input, size: int) -> bytes:
    if hostile.upgraded:
        event: Mapping[str, Any] = create() if hostile.runs else {"type": "throughline:cancel", "response_id": "resp_0"}
        return frame(encoded(_padded(event, size)))
    if size < 512:
        return http("GET", "/v1/models")
    return http("POST", "/v1/responses/input_tokens", encoded(_padded({"input": "Hi"}, size)))


def _padded(event: Mapping[str, Any], size: int) -> dict[str, Any]:
    return {**event, "padding": "x" * max(0, size - 150)}
