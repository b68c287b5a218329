"""The log's own format."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.protocol.entry import (
    DELTAS,
    LONGEST,
    TERMINAL,
    VERSION,
    Entry,
    Event,
    Kind,
    Open,
    UnknownVersion,
    decode,
    encode,
    joined,
    opened,
)
from tests.server.protocol.chunks import CHUNKS, EVERYTHING, written

OPEN = Open("msg_abc00", 0, "message")
ADDED = Event(Kind.ITEM_ADDED, data={"id": "fc_abc01", "type": "function_call"})


@pytest.mark.parametrize("open", [None, OPEN])
@pytest.mark.parametrize("events", [(), (Event(Kind.CREATED),), (Event(Kind.TEXT, "Hi", (1, 2)), ADDED)])
def test_round_trip(open: Open | None, events: tuple[Event, ...]) -> None:
    assert decode(encode(open, events)) == Entry(VERSION, open, events)


@settings(max_examples=50, deadline=None)
@given(CHUNKS)
def test_whole_turns_survive(chunks: list[object]) -> None:
    for events in written(chunks):  # type: ignore[arg-type]
        assert decode(encode(OPEN, events)) == Entry(VERSION, OPEN, tuple(events))


def test_every_kind_survives() -> None:
    events = tuple(Event(kind) for kind in Kind)
    assert decode(encode(None, events)).events == events


def test_kinds_keep_their_numbers() -> None:
    """They are stored; a change would make old logs say something else."""
    names = (
        "CREATED QUEUED IN_PROGRESS ITEM_ADDED PART_ADDED TEXT REASONING ARGUMENTS TEXT_DONE REASONING_DONE "
        "ARGUMENTS_DONE PART_DONE ITEM_DONE COMPLETED INCOMPLETE FAILED"
    )
    assert [kind.name for kind in Kind] == names.split()
    assert [int(kind) for kind in Kind] == list(range(16))


def test_bytes_of_version_one() -> None:
    """A log that was written by an older node of this version still reads the same."""
    raw = bytes.fromhex("930193a96d73675f616263303000a76d657373616765919405a248699101c0")
    assert encode(OPEN, [Event(Kind.TEXT, "Hi", (1,))]) == raw
    assert decode(raw) == Entry(1, OPEN, (Event(Kind.TEXT, "Hi", (1,)),))


@pytest.mark.parametrize("version", [0, 2, 127])
def test_another_version_is_named(version: int) -> None:
    raw = msgspec.msgpack.encode([version, None, []])
    with pytest.raises(UnknownVersion):
        decode(raw)


@pytest.mark.parametrize("raw", [b"", b"{}", b"\x94\x01\xc0\x90\x00"])
def test_what_is_no_entry_is_an_unknown_version(raw: bytes) -> None:
    with pytest.raises(UnknownVersion):
        decode(raw)


@pytest.mark.parametrize("raw", [b"\x93\x01", b"\x93\x01\xc0\xc0", b"\x93\x01\xc0\x91\x91\xa1x"])
def test_a_damaged_entry_is_an_error(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(raw)


class TestOpened:
    """The open item after an event."""

    def test_the_first_item_is_number_zero(self) -> None:
        assert opened(None, ADDED) == Open("fc_abc01", 0, "function_call")

    def test_the_next_item_counts_on(self) -> None:
        assert opened(OPEN, ADDED) == Open("fc_abc01", 1, "function_call")

    @pytest.mark.parametrize("kind", sorted(frozenset(Kind) - {Kind.ITEM_ADDED}))
    def test_nothing_else_changes_it(self, kind: Kind) -> None:
        assert opened(OPEN, Event(kind)) is OPEN


class TestJoined:
    """Two deltas as one."""

    def test_text_ids_and_logprobs_follow_each_other(self) -> None:
        before, event = Event(Kind.TEXT, "a", (1, 2), [{"token": "a"}]), Event(Kind.TEXT, "b", (3,), [{"token": "b"}])
        assert joined(before, event) == Event(Kind.TEXT, "ab", (1, 2, 3), [{"token": "a"}, {"token": "b"}])

    def test_without_logprobs_there_are_none(self) -> None:
        assert joined(Event(Kind.REASONING, "a"), Event(Kind.REASONING, "b")) == Event(Kind.REASONING, "ab")

    @pytest.mark.parametrize("kind", sorted(frozenset(Kind) - DELTAS))
    def test_nothing_but_deltas_is_joined(self, kind: Kind) -> None:
        assert joined(Event(kind), Event(kind)) is None

    def test_channels_stay_apart(self) -> None:
        assert joined(Event(Kind.REASONING, "a"), Event(Kind.TEXT, "b")) is None

    def test_an_event_stays_short(self) -> None:
        assert joined(Event(Kind.TEXT, "a" * (LONGEST - 1)), Event(Kind.TEXT, "b")) is not None
        assert joined(Event(Kind.TEXT, "a" * LONGEST), Event(Kind.TEXT, "b")) is None


def test_a_call_to_the_writer_is_whole() -> None:
    """What closes an item is appended in one piece: its text stands only at the end."""
    closing = {Kind.TEXT_DONE, Kind.REASONING_DONE, Kind.ARGUMENTS_DONE, Kind.PART_DONE}
    for events in written(EVERYTHING):
        last = max((index for index, event in enumerate(events) if event.kind in closing), default=-1)
        assert last == -1 or Kind.ITEM_DONE in {event.kind for event in events[last:]}


def test_terminal_kinds() -> None:
    assert {Kind.COMPLETED, Kind.INCOMPLETE, Kind.FAILED} == TERMINAL


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_do_anything_but_raise(raw: bytes) -> None:
    try:
        decode(raw)
    except (UnknownVersion, msgspec.DecodeError):
        return
