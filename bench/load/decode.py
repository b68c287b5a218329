"""HTTP/1.1 answers and SSE, from bytes to parts (RFC 9112, section 6 and 7.1). Pure.

A client on a fast machine would otherwise spend more time on a stream than the server that it measures.
"""

from collections.abc import Callable, Iterator

import msgspec


class BadHttp(Exception):  # noqa: N818
    """Bytes that are no HTTP answer."""


class Head(msgspec.Struct, frozen=True):
    """Status line and the headers that matter, names in lower case."""

    status: int
    headers: dict[str, str]

    @property
    def keeps(self) -> bool:
        """Whether the connection may be used again."""
        return self.headers.get("connection", "keep-alive").lower() != "close"


class End(msgspec.Struct, frozen=True):
    """Marks the end of a response's body."""


Piece = Head | bytes | End


class ResponseDecoder:
    """Feeds on bytes of one connection; yields each answer's head, pieces of its body, and its end."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._left = 0  # bytes of the current chunk or body
        self._step: Callable[[], Iterator[Piece] | None] = self._head  # none: more bytes are needed

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Parts that are complete now. Raises BadHttp."""
        self._bytes += data
        while (parts := self._step()) is not None:
            yield from parts

    def eof(self) -> Iterator[Piece]:
        """The peer closed: that ends a body without length. Raises BadHttp where one is cut."""
        if self._step == self._rest:
            self._step = self._head
            yield End()
        elif self._step != self._head or self._bytes:
            raise BadHttp("the answer was cut")

    def _head(self) -> Iterator[Piece] | None:
        raw = self._take_to(b"\r\n\r\n")
        if raw is None:
            return None
        head = _parse_head(raw)
        length = head.headers.get("content-length", "0" if head.status in {204, 304} else None)
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            self._step = self._size
            return iter((head,))
        if length is None:
            self._step = self._rest
            return iter((head,))
        self._left = int(length)
        self._step = self._body
        return iter((head,))

    def _body(self) -> Iterator[Piece] | None:
        if self._left == 0:
            self._step = self._head
            return iter((End(),))
        piece = self._take(self._left)
        self._left -= len(piece)
        return iter((piece,)) if piece else None

    def _rest(self) -> Iterator[Piece] | None:
        piece = self._take(len(self._bytes))
        return iter((piece,)) if piece else None

    def _size(self) -> Iterator[Piece] | None:
        line = self._take_to(b"\r\n")
        if line is None:
            return None
        try:
            self._left = int(line.partition(b";")[0], 16)
        except ValueError:
            raise BadHttp(f"a chunk of size {bytes(line[:20])!r}") from None
        self._step = self._chunk if self._left else self._trailer
        return iter(())

    def _chunk(self) -> Iterator[Piece] | None:
        if self._left:
            piece = self._take(self._left)
            self._left -= len(piece)
            return iter((piece,)) if piece else None
        if self._take_to(b"\r\n") is None:
            return None
        self._step = self._size
        return iter(())

    def _trailer(self) -> Iterator[Piece] | None:
        line = self._take_to(b"\r\n")
        if line is None:
            return None
        if line:
            return iter(())
        self._step = self._head
        return iter((End(),))

    def _take(self, count: int) -> bytes:
        piece = bytes(self._bytes[:count])
        del self._bytes[:count]
        return piece

    def _take_to(self, mark: bytes) -> bytes | None:
        """Bytes before the mark; the mark goes too."""
        at = self._bytes.find(mark)
        if at < 0:
            return None
        piece = self._take(at)
        del self._bytes[: len(mark)]
        return piece


def _parse_head(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise BadHttp(f"not an HTTP answer: {first[:60]!r}")
    pairs = (line.partition(":") for line in lines)
    return Head(int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs})


class SseDecoder:
    """Feeds on an event stream's bytes; yields the data of each event. Comments and names are left out."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Events that are complete now."""
        *blocks, self._bytes = (self._bytes + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield b"\n".join(lines)


def request(method: str, path: str, host: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Encode an HTTP/1.1 request with a JSON body."""
    fixed = {"host": host, "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fixed, **headers}.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
