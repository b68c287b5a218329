"""Who comes next."""

import msgspec

from engine.base import Params, Prompt
from server.node.queue import Line, Place
from server.store.base import Lease, Ref
from server.turns.spec import Record


def place(id: str, asked: float, *, seen: Lease | None = None, suspect: bool = False) -> Place:
    record = Record({"id": id}, Prompt((1,)), Params(), "m", asked=asked)
    return Place(Ref("alice", id), record, None, seen, suspect)


def order(line: Line) -> str:
    return "".join(each.ref.id for each in line)


def test_the_oldest_comes_first_and_what_was_running_before_all() -> None:
    line = Line()
    for each in (place("b", 2), place("c", 3), place("a", 1), place("z", 9, seen=Lease(1, "dead"))):
        line.join(each)
    assert order(line) == "zabc"
    assert (line.position(Ref("alice", "a")), line.position(Ref("bob", "a")), len(line)) == (2, None, 4)


def test_equals_keep_their_order() -> None:
    line = Line()
    for id in "abc":
        line.join(place(id, 1))
    assert order(line) == "abc"


def test_who_leaves_is_gone() -> None:
    line = Line()
    line.join(place("a", 1))
    line.join(place("b", 2))
    left = line.leave(Ref("alice", "a"))
    assert left is not None
    assert left.ref.id == "a"
    assert line.leave(Ref("alice", "a")) is None
    assert order(line) == "b"


def test_one_suspect_at_a_time_and_others_pass() -> None:
    line = Line()
    for each in (place("s", 1, suspect=True), place("t", 2, suspect=True), place("a", 3)):
        line.join(each)
    first = line.next(())
    assert first is not None
    second = line.next({first.ref})
    assert (first.ref.id, second and second.ref.id, line.next({first.ref})) == ("s", "a", None)
    third = line.next(())
    assert third == msgspec.structs.replace(place("t", 2, suspect=True))
    assert line.next(()) is None
