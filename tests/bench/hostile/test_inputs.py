"""What is sent is what it says, and the control is as large and harmless."""

import json

import pytest

from bench.hostile.corpus.catalogue import CATALOGUE, inputs
from bench.hostile.corpus.family import Ground
from bench.hostile.inputs import LIMIT, Input, Piece, create, fragments, frame, framed, harmless, http, said, spoken
from bench.hostile.throw import BANDWIDTH, RATE, timed

NAMES = [family.name for family in CATALOGUE]


def payloads(data: bytes) -> list[bytes]:
    """Of whole masked frames whose mask changes nothing."""
    found, at = [], 0
    while at < len(data):
        length, begin = data[at + 1] & 0x7F, at + 2
        if length > 125:
            wide = 2 if length == 126 else 8
            length, begin = int.from_bytes(data[begin : begin + wide], "big"), begin + wide
        begin += 4
        found.append(data[begin : begin + length])
        at = begin + length
    return found


def test_fragments_make_the_message_again() -> None:
    assert b"".join(payloads(fragments(b"abcdefg", 3))) == b"abcdefg"
    assert payloads(fragments(b"abc", 2, frame(b"-", 9))) == [b"ab", b"-", b"c", b"-", b""]


def test_a_request_has_one_length() -> None:
    assert http("POST", "/a", b"{}").count(b"content-length: 2\r\n") == 1
    assert b"content-length: 9\r\n" in http("POST", "/a", b"{}", [("content-length", "9")])
    assert b"content-length" not in http("POST", "/a", b"", [("transfer-encoding", "chunked")])


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_makes_the_same_inputs_again(name: str) -> None:
    assert inputs(name, Ground(), 7) == inputs(name, Ground(), 7)


@pytest.mark.parametrize("name", NAMES)
def test_names_say_which_input_it_is(name: str) -> None:
    names = [each.name for each in inputs(name, Ground(), 1)]
    assert names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", NAMES)
def test_the_control_has_about_as_many_bytes(name: str) -> None:
    for each in inputs(name, Ground(), 1):
        control = harmless(each)
        assert len(control.pieces) == len(each.pieces)
        spare = 300 * sum(max(1, control.answers) for _ in each.pieces)
        assert control.size <= each.size + spare
        if each.size > LIMIT // 4 and not each.runs:
            assert control.size >= each.size * 0.9


def test_the_control_of_a_turn_is_a_short_chat() -> None:
    event = json.loads(payloads(harmless(said("a", create(input="x" * 5000), runs=True)).pieces[0].data)[0])
    assert (event["type"], event["input"]) == ("response.create", "Hi")


def test_the_control_of_many_turns_is_as_many() -> None:
    control = harmless(spoken("a", [create()] * 30, runs=True))
    assert len(payloads(control.pieces[0].data)) == control.answers == 30


def test_the_control_of_a_large_message_stays_within_the_limit() -> None:
    assert all(len(each) <= LIMIT for each in payloads(harmless(framed("a", bytes(LIMIT * 3))).pieces[0].data))


def test_inputs_are_sent_at_a_rate_and_within_a_bandwidth() -> None:
    small, large = Input("small", (Piece(b"a"),)), Input("large", (Piece(bytes(int(BANDWIDTH))),))
    assert [at for at, _ in timed([small, large, small], 0.0)] == [0.0, 1 / RATE, 1 / RATE + 1.0]


def test_inputs_are_repeated_until_the_time_is_over() -> None:
    assert len(timed([Input("a", (Piece(b"a"),))], 1.0)) == RATE
