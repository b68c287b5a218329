"""What a turn needs of a node, and who takes which orphan."""

from collections import Counter

import pytest

from server.node.reconciler import RepairAction, preferred_owner, repair_action
from server.protocol.status import Status
from server.store.types import Lease, Turn, TurnRef

MINE, OTHERS = Lease(3, "me"), Lease(2, "b")


def turn(lease: Lease | None, *, stop: bool = False, offered: bool = False, kept: bool = True) -> Turn:
    status = Status.QUEUED if lease is None else Status.IN_PROGRESS
    return Turn(TurnRef("alice", "resp_1"), status, 5, lease, stop, kept, None, {}, offered)


TABLE = [
    # turn, runs here, its owner is gone, watched here, what it needs
    (turn(MINE), True, False, False, RepairAction.NOTHING),
    (turn(MINE, stop=True), True, False, False, RepairAction.STOP),
    (turn(MINE), False, False, False, RepairAction.RELEASE),
    (turn(MINE, offered=True), False, False, False, RepairAction.RELEASE),
    (turn(None), True, False, False, RepairAction.NOTHING),
    (turn(None), False, False, False, RepairAction.HELP),
    (turn(OTHERS), False, False, False, RepairAction.NOTHING),
    (turn(OTHERS), False, False, True, RepairAction.NOTHING),
    (turn(OTHERS, kept=False), False, False, True, RepairAction.REPORT_VIEWER),
    (turn(OTHERS, kept=False), False, False, False, RepairAction.NOTHING),
    (turn(OTHERS, offered=True), False, False, False, RepairAction.HELP),
    (turn(OTHERS), False, True, False, RepairAction.ADOPT),
    (turn(OTHERS, offered=True), False, True, False, RepairAction.ADOPT),
    (turn(OTHERS, kept=False), False, True, True, RepairAction.ADOPT),
    (turn(OTHERS), True, True, False, RepairAction.NOTHING),
    (turn(OTHERS, stop=True), True, False, False, RepairAction.STOP),
]


@pytest.mark.parametrize(("each", "runs", "gone", "watched", "expected"), TABLE)
def test_what_a_turn_needs_of_a_node(each: Turn, runs: bool, gone: bool, watched: bool, expected: RepairAction) -> None:
    assert repair_action(each, "me", runs=runs, gone=gone, watched=watched) is expected


def test_all_agree_on_the_heir_and_shares_follow_free_slots() -> None:
    able = {"a": 10, "b": 30, "c": 0}
    drawn = Counter(preferred_owner(f"resp_{number}", able) for number in range(4000))
    assert set(drawn) == {"a", "b"}
    assert 0.71 < drawn["b"] / 4000 < 0.79
    assert all(
        preferred_owner(f"resp_{n}", dict(reversed(able.items()))) == preferred_owner(f"resp_{n}", able)
        for n in range(50)
    )


def test_nobody_able_is_nobody() -> None:
    assert preferred_owner("resp_1", {}) is None
    assert preferred_owner("resp_1", {"a": 0}) is None
