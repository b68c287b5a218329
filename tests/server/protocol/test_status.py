"""The states of a turn: every state with every event, legal or refused, and refused changes nothing."""

from itertools import product

import msgspec
import pytest

from server.protocol.entry import TERMINAL, Event, Kind
from server.protocol.output import ENDS, ResponseBuilder
from server.protocol.status import FINAL, NEXT, IllegalMove, Status, move

LEGAL = {
    ("queued", "in_progress"),
    ("queued", "failed"),
    ("queued", "cancelled"),
    ("in_progress", "completed"),
    ("in_progress", "incomplete"),
    ("in_progress", "failed"),
    ("in_progress", "cancelled"),
}
ITEM = {"id": "msg_00", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
DATA = {Kind.ITEM_ADDED: ITEM, Kind.ITEM_DONE: ITEM, Kind.PART_ADDED: {"type": "output_text"}}
SAYING = frozenset(Kind) - TERMINAL - {Kind.CREATED, Kind.QUEUED, Kind.IN_PROGRESS}


def at(status: Status) -> ResponseBuilder:
    answer = ResponseBuilder("00")
    answer.status = status
    answer.item = ITEM
    return answer


def event_of(kind: Kind, status: Status | None = None) -> Event:
    return Event(kind, ids=(1,), data={"status": status} if status else DATA.get(kind))


def legal(status: Status, kind: Kind) -> bool:
    if kind in {Kind.CREATED, Kind.QUEUED, Kind.IN_PROGRESS}:
        return status is Status.QUEUED
    return status is Status.IN_PROGRESS


@pytest.mark.parametrize(("now", "then"), list(product(Status, Status)))
def test_every_move(now: Status, then: Status) -> None:
    if (now, then) in LEGAL:
        assert move(now, then) is then
    else:
        with pytest.raises(IllegalMove, match=f"{now} -> {then}"):
            move(now, then)


def test_final_states_have_no_way_out() -> None:
    assert {Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED} == FINAL
    assert NEXT.keys() | FINAL == set(Status)


@pytest.mark.parametrize(("now", "kind"), list(product(Status, sorted(frozenset(Kind) - TERMINAL))))
def test_every_event_in_every_state(now: Status, kind: Kind) -> None:
    answer = at(now)
    before = {name: repr(value) for name, value in vars(answer).items()}
    if legal(now, kind):
        answer.apply(event_of(kind))
        assert answer.token_ids == [1]
    else:
        with pytest.raises(IllegalMove):
            answer.apply(event_of(kind))
        assert {name: repr(value) for name, value in vars(answer).items()} == before


@pytest.mark.parametrize(("now", "then"), list(product(Status, ENDS)))
def test_every_end_in_every_state(now: Status, then: Status) -> None:
    answer = at(now)
    if (now, then) in LEGAL:
        answer.apply(event_of(ENDS[then], then))
        assert answer.status is then
    else:
        with pytest.raises(IllegalMove):
            answer.apply(event_of(ENDS[then], then))
        assert (answer.status, answer.token_ids) == (now, [])


def test_saying_something_does_not_change_the_status() -> None:
    for kind in sorted(SAYING):
        answer = at(Status.IN_PROGRESS)
        answer.apply(event_of(kind))
        assert answer.status is Status.IN_PROGRESS


def test_words_are_the_wire_s_own() -> None:
    assert msgspec.json.encode(list(Status)) == (
        b'["queued","in_progress","completed","incomplete","failed","cancelled"]'
    )
