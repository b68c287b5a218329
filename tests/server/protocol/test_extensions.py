"""Events of our own, byte by byte: clients read these names."""

import msgspec
import pytest

from server.protocol.extensions import Cancelled, Notice, Queued, Resumed, Waiting, frame
from server.protocol.status import Status

FRAMES: list[tuple[Notice, bytes]] = [
    (
        Resumed(3, "resp_1", Status.IN_PROGRESS, 7),
        b'{"type":"throughline:resumed","sequence_number":3,"response_id":"resp_1","status":"in_progress",'
        b'"last_sequence_number":7}',
    ),
    (
        Cancelled(0, "resp_1"),
        b'{"type":"throughline:cancelled","sequence_number":0,"response_id":"resp_1"}',
    ),
    (
        Cancelled(9, "resp_1", msgspec.Raw(b'{"id":"resp_1"}')),
        b'{"type":"throughline:cancelled","sequence_number":9,"response_id":"resp_1","response":{"id":"resp_1"}}',
    ),
    (
        Queued(1, "resp_1", 4, 2.5),
        b'{"type":"throughline:queue","sequence_number":1,"response_id":"resp_1","position":4,"estimated_seconds":2.5}',
    ),
    (
        Queued(1, "resp_1", 1, None),
        b'{"type":"throughline:queue","sequence_number":1,"response_id":"resp_1","position":1,"estimated_seconds":null}',
    ),
    (
        Waiting(5, "resp_1", "takeover"),
        b'{"type":"throughline:waiting","sequence_number":5,"response_id":"resp_1","reason":"takeover"}',
    ),
]


@pytest.mark.parametrize(("notice", "expected"), FRAMES)
def test_on_the_connection_s_own_lane(notice: Notice, expected: bytes) -> None:
    assert frame(notice, None) == expected


@pytest.mark.parametrize(("notice", "expected"), FRAMES)
def test_on_a_named_lane(notice: Notice, expected: bytes) -> None:
    assert frame(notice, "side-1") == expected[:-1] + b',"stream_id":"side-1"}'
