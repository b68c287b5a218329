"""Who comes next."""

import msgspec

from engine.base import Params, Prompt
from server.node.queue import AdmissionQueue, QueuedTurn
from server.store.types import Lease, TurnRef
from server.turns.spec import TurnSpec


def place(id: str, asked: float, *, seen: Lease | None = None, suspect: bool = False) -> QueuedTurn:
    record = TurnSpec({"id": id}, Prompt((1,)), Params(), "m", requested_at=asked)
    return QueuedTurn(TurnRef("alice", id), record, None, seen, suspect)


def order(line: AdmissionQueue) -> str:
    return "".join(each.ref.id for each in line)


def test_the_oldest_comes_first_and_what_was_running_before_all() -> None:
    line = AdmissionQueue()
    for each in (place("b", 2), place("c", 3), place("a", 1), place("z", 9, seen=Lease(1, "dead"))):
        line.push(each)
    assert order(line) == "zabc"
    assert (line.position(TurnRef("alice", "a")), line.position(TurnRef("bob", "a")), len(line)) == (2, None, 4)


def test_equals_keep_their_order() -> None:
    line = AdmissionQueue()
    for id in "abc":
        line.push(place(id, 1))
    assert order(line) == "abc"


def test_who_leaves_is_gone() -> None:
    line = AdmissionQueue()
    line.push(place("a", 1))
    line.push(place("b", 2))
    left = line.remove(TurnRef("alice", "a"))
    assert left is not None
    assert left.ref.id == "a"
    assert line.remove(TurnRef("alice", "a")) is None
    assert order(line) == "b"


def test_one_suspect_at_a_time_and_others_pass() -> None:
    line = AdmissionQueue()
    for each in (place("s", 1, suspect=True), place("t", 2, suspect=True), place("a", 3)):
        line.push(each)
    first = line.pop_next(())
    assert first is not None
    second = line.pop_next({first.ref})
    assert (first.ref.id, second and second.ref.id, line.pop_next({first.ref})) == ("s", "a", None)
    third = line.pop_next(())
    assert third == msgspec.structs.replace(place("t", 2, suspect=True))
    assert line.pop_next(()) is None
