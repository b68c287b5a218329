"""Items as one argument of a script: the id and the JSON of each, both behind their length (4 bytes, big-endian)."""

from collections.abc import Iterable
from struct import Struct

from server.store.types import Item

_LENGTH = Struct(">I")


def pack_items(items: Iterable[Item]) -> bytes:
    """Ids and items in one string. `lua/include/packed_items.lua` reads it."""
    parts: list[bytes] = []
    pack = _LENGTH.pack
    for item in items:
        id, json = item.id.encode(), item.json
        parts += (pack(len(id)), id, pack(len(json)), json)
    return b"".join(parts)


def unpack_jsons(packed: bytes) -> list[bytes]:
    """The JSON of each item, in order."""
    parts: list[bytes] = []
    start = 0
    while start < len(packed):
        end = start + 4 + int.from_bytes(packed[start : start + 4], "big")
        parts.append(packed[start + 4 : end])
        start = end
    return parts[1::2]
