"""Bodies that come compressed (RFC 9110, 8.4): with gzip, with deflate, and with zstd, as Codex sends them.

What a body becomes is bounded while it is unpacked: a kilobyte can hold a gigabyte.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

from backports import zstd

from server.protocol.errors import WireError, invalid

ACCEPTED = "gzip, deflate, zstd"
ALIASES = {"x-gzip": "gzip"}  # RFC 9110, 8.4.1.3
MAX_WINDOW_LOG = 23  # 8 MiB, the most that a zstd content coding may ask its reader for (RFC 9659)
MAX_MEMBERS = 16  # streams one behind the other in one body; most are one, and empty ones cost more than they hold


class _Reader(Protocol):
    """Reads one compressed stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def coding_of(headers: list[str]) -> str | None:
    """The coding that `Content-Encoding` headers name, if any. Raises WireError 415 for one that is not read here."""
    named = [name.strip().lower() for header in headers for name in header.split(",")]
    codings = [ALIASES.get(name, name) for name in named if name not in {"", "identity"}]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _READERS:
        message = f"A body cannot be read with this Content-Encoding; send it with one of {ACCEPTED}, or with none."
        raise WireError(415, "unsupported_content_encoding", message)
    return codings[0]


async def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """The body itself, at most `limit` bytes. Raises WireError 400, 413. Runs beside the event loop."""
    return await asyncio.to_thread(decode, body, coding, limit)


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """See `decoded`."""
    content = bytearray()
    rest = body
    for _ in range(MAX_MEMBERS):
        if not rest:
            break
        reader = _READERS[coding](rest)
        try:
            content += reader.decompress(rest, limit + 1 - len(content))
        except (zlib.error, zstd.ZstdError) as error:
            raise invalid(f"The body is not valid {coding}: {error}") from None
        if len(content) > limit:
            raise too_large(limit)
        if not reader.eof:
            raise invalid(f"The body is not valid {coding}: it ends too early.")
        rest = reader.unused_data
    if rest:
        raise invalid(f"The body is not valid {coding}: more than {MAX_MEMBERS} streams follow each other.")
    return bytes(content)


def too_large(limit: int) -> WireError:
    """More than `MAX_MESSAGE_BYTES`, as it came or as it is unpacked."""
    return WireError(413, "request_too_large", f"The body is larger than {limit} bytes.")


def _gzip(data: bytes) -> _Reader:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _deflate(data: bytes) -> _Reader:
    """In zlib's frame, as the standard has it, or bare, as some clients send it (RFC 9110, 8.4.1.2)."""
    is_framed = len(data) > 1 and data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS)


def _zstd(data: bytes) -> _Reader:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


_READERS: dict[str, Callable[[bytes], _Reader]] = {"gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
