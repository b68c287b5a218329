"""What a turn needs of a node, and who takes which orphan."""

from collections import Counter

import pytest

from server.node.reconciler import Duty, duty, heir
from server.protocol.status import Status
from server.store.base import Lease, Ref, Turn

MINE, OTHERS = Lease(3, "me"), Lease(2, "b")


def turn(lease: Lease | None, *, stop: bool = False, offered: bool = False, kept: bool = True) -> Turn:
    status = Status.QUEUED if lease is None else Status.IN_PROGRESS
    return Turn(Ref("alice", "resp_1"), status, 5, lease, stop, kept, None, {}, offered)


TABLE = [
    # turn, runs here, its owner is gone, viewed here, duty
    (turn(MINE), True, False, False, Duty.NOTHING),
    (turn(MINE, stop=True), True, False, False, Duty.STOP),
    (turn(MINE), False, False, False, Duty.RELEASE),
    (turn(MINE, offered=True), False, False, False, Duty.RELEASE),
    (turn(None), True, False, False, Duty.NOTHING),
    (turn(None), False, False, False, Duty.HELP),
    (turn(OTHERS), False, False, False, Duty.NOTHING),
    (turn(OTHERS), False, False, True, Duty.NOTHING),
    (turn(OTHERS, kept=False), False, False, True, Duty.LOOK),
    (turn(OTHERS, kept=False), False, False, False, Duty.NOTHING),
    (turn(OTHERS, offered=True), False, False, False, Duty.HELP),
    (turn(OTHERS), False, True, False, Duty.ADOPT),
    (turn(OTHERS, offered=True), False, True, False, Duty.ADOPT),
    (turn(OTHERS, kept=False), False, True, True, Duty.ADOPT),
    (turn(OTHERS), True, True, False, Duty.NOTHING),
    (turn(OTHERS, stop=True), True, False, False, Duty.STOP),
]


@pytest.mark.parametrize(("each", "runs", "gone", "viewed", "expected"), TABLE)
def test_duty(each: Turn, runs: bool, gone: bool, viewed: bool, expected: Duty) -> None:
    assert duty(each, "me", runs=runs, gone=gone, viewed=viewed) is expected


def test_all_agree_on_the_heir_and_shares_follow_free_slots() -> None:
    able = {"a": 10, "b": 30, "c": 0}
    drawn = Counter(heir(f"resp_{number}", able) for number in range(4000))
    assert set(drawn) == {"a", "b"}
    assert 0.71 < drawn["b"] / 4000 < 0.79
    assert all(heir(f"resp_{n}", dict(reversed(able.items()))) == heir(f"resp_{n}", able) for n in range(50))


def test_nobody_able_is_nobody() -> None:
    assert heir("resp_1", {}) is None
    assert heir("resp_1", {"a": 0}) is None
