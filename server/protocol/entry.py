"""The log's own format: what a turn appends, before anybody renders it for a viewer.

An entry is one msgpack array: format version, the item that is open where the entry begins, and the events in
order. It is readable without the entries before it. `TEXT_DONE` and `PART_DONE` take their text from the `ITEM_DONE`
that closes them, so the three must be appended in one call; the writer never splits a call over two entries.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

VERSION = 1


class Kind(IntEnum):
    """What happened. Numbers are stored: never reuse one."""

    CREATED = 0
    QUEUED = 1
    IN_PROGRESS = 2
    ITEM_ADDED = 3  # data: the item as it opens
    PART_ADDED = 4  # data: the part as it opens
    TEXT = 5
    REASONING = 6
    ARGUMENTS = 7
    TEXT_DONE = 8
    REASONING_DONE = 9
    ARGUMENTS_DONE = 10
    PART_DONE = 11
    ITEM_DONE = 12  # data: the whole item
    COMPLETED = 13  # data: the whole response, here and below
    INCOMPLETE = 14
    FAILED = 15


TERMINAL = frozenset({Kind.COMPLETED, Kind.INCOMPLETE, Kind.FAILED})
DELTAS = frozenset({Kind.TEXT, Kind.REASONING, Kind.ARGUMENTS})
LONGEST = 1000  # characters of an event that deltas are joined to


class Event(msgspec.Struct, array_like=True, frozen=True):
    """One numbered event. `ids` are the token ids that became known with it, shown or still held back."""

    kind: Kind
    text: str = ""
    ids: tuple[int, ...] = ()
    data: Any = None


class Open(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The item that deltas belong to."""

    item_id: str
    output_index: int
    type: str  # message | reasoning | function_call


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """Events that were appended together; the entry's id in the log names the number of the last one."""

    version: int
    open: Open | None
    events: tuple[Event, ...]


class UnknownVersion(Exception):  # noqa: N818
    """An entry was written by a newer node than this one."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(open: Open | None, events: Sequence[Event]) -> bytes:
    """Pack events that begin while `open` is the open item."""
    return _encoder.encode(Entry(VERSION, open, tuple(events)))


def decode(raw: bytes) -> Entry:
    """Unpack one entry. Raises UnknownVersion, msgspec.DecodeError."""
    if raw[:2] != b"\x93\x01":
        raise UnknownVersion(raw[1:2].hex())
    return _decoder.decode(raw)


def opened(before: Open | None, event: Event) -> Open | None:
    """The open item after `event`."""
    if event.kind == Kind.ITEM_ADDED:
        index = 0 if before is None else before.output_index + 1
        return Open(event.data["id"], event.data.get("output_index", index), event.data["type"])
    return before


def joined(before: Event, event: Event) -> Event | None:
    """Two deltas of one item as one, or None where they must stay apart."""
    if before.kind is not event.kind or event.kind not in DELTAS or len(before.text) + len(event.text) > LONGEST:
        return None
    data = [*(before.data or ()), *(event.data or ())] if before.data or event.data else None
    return Event(event.kind, before.text + event.text, before.ids + event.ids, data)
