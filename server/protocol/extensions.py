"""Every `throughline:*` event, as it is on the wire: what a client may send, and what it gets.

None of these is in a turn's log. What a client gets repeats the number of the last event that it was sent, so that the
numbers of a turn stay without gaps.
"""

import msgspec
from msgspec import UNSET, UnsetType

from server.protocol.status import Status


class ResumeRequest(msgspec.Struct, frozen=True):
    """`throughline:resume`: show a turn from the event after number `starting_after`, from the first one without it."""

    response_id: str
    starting_after: int | None = None
    stream_id: str | None = None


class CancelRequest(msgspec.Struct, frozen=True):
    """`throughline:cancel`: stop a turn of this caller, wherever it runs."""

    response_id: str


class Notice(msgspec.Struct, frozen=True, tag_field="type"):
    """An event that is not in the log. `stream_id` is left out on the connection's own lane."""

    sequence_number: int
    response_id: str


class Resumed(Notice, frozen=True, tag="throughline:resumed"):
    """First answer to a resume; the events follow. `last_sequence_number` is the end of the log as it was then."""

    status: Status
    last_sequence_number: int
    stream_id: str | UnsetType = UNSET


class Cancelled(Notice, frozen=True, tag="throughline:cancelled"):
    """Answer to a cancel. `response` is there where the turn had ended before, as the JSON that is stored."""

    response: msgspec.Raw | UnsetType = UNSET
    stream_id: str | UnsetType = UNSET


class Queued(Notice, frozen=True, tag="throughline:queue"):
    """The turn waits for a slot. `position` counts from 1; no estimate until some turn has ended on this node."""

    position: int
    estimated_seconds: float | None
    stream_id: str | UnsetType = UNSET


class Waiting(Notice, frozen=True, tag="throughline:waiting"):
    """Nothing else comes at the moment. `reason` is `prefill`, `takeover` or `log`."""

    reason: str
    stream_id: str | UnsetType = UNSET


_encoder = msgspec.json.Encoder()


def frame(notice: Notice, lane: str | None) -> bytes:
    """The event as a text frame, on its lane."""
    return _encoder.encode(notice if lane is None else msgspec.structs.replace(notice, stream_id=lane))
