"""When a node looks for cycles, and that it finds them."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from server import garbage
from server.garbage import CycleCollector


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Node:
    """Something that can be in a cycle."""

    other: "Node"


def cycle() -> "weakref.ref[Node]":
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


def grow_old() -> None:
    """As many middle collections as make a full one due."""
    for _ in range(garbage.OVERDUE_AFTER + 2):
        gc.collect(1)


@pytest.fixture(autouse=True)
def collections() -> Iterator[None]:
    """No automatic ones, and nothing frozen afterwards."""
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def collector(clock: Clock) -> CycleCollector:
    return CycleCollector(clock)


def test_a_cycle_is_found_once_the_node_was_quiet(collector: CycleCollector, clock: Clock) -> None:
    kept = Node()
    kept.other = kept
    old = weakref.ref(kept)
    grow_old()
    del kept
    gc.collect(1)
    assert old() is not None, "it is too old for a smaller look"
    assert not collector.look(idle=True)
    clock.now += garbage.QUIET_SECONDS
    assert collector.look(idle=True)
    assert old() is None


def test_nothing_is_done_while_turns_run_or_objects_come(collector: CycleCollector, clock: Clock) -> None:
    for idle in (False, True, False):
        clock.now += garbage.QUIET_SECONDS
        grow_old()
        assert not collector.look(idle=idle)


def test_nothing_is_done_where_little_has_come(collector: CycleCollector, clock: Clock) -> None:
    collector.look(idle=True)
    clock.now += garbage.BUSY_SECONDS
    assert not collector.look(idle=True)


def test_a_node_that_is_never_quiet_does_it_when_there_is_little_to_look_at(
    collector: CycleCollector, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow_old()
    clock.now += garbage.BUSY_SECONDS
    monkeypatch.setattr(garbage, "FEW_OBJECTS", 0)
    assert not collector.look(idle=False)
    monkeypatch.setattr(garbage, "FEW_OBJECTS", 1 << 40)
    assert not collector.look(idle=False)
    clock.now += garbage.RETRY_SECONDS
    assert collector.look(idle=False)
    grow_old()
    assert not collector.look(idle=False)


def test_what_took_long_to_look_at_is_not_looked_at_again(
    collector: CycleCollector, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "LONG_SECONDS", -1.0)
    kept = [Node() for _ in range(100)]
    grow_old()
    collector.look(idle=True)
    clock.now += garbage.QUIET_SECONDS
    frozen = gc.get_freeze_count()
    assert collector.look(idle=True)
    assert gc.get_freeze_count() > frozen + len(kept)
    seen = weakref.ref(kept[0])
    kept.clear()
    assert seen() is None, "without cycles it is freed all the same"
    lost = cycle()
    grow_old()
    clock.now += garbage.QUIET_SECONDS
    assert not collector.look(idle=True)
    clock.now += garbage.QUIET_SECONDS
    assert collector.look(idle=True)
    assert lost() is None


def test_a_full_collection_is_ours_to_begin() -> None:
    before = gc.get_threshold()
    try:
        garbage.freeze_loaded_objects()
        assert gc.get_threshold() == (*before[:2], garbage.AUTOMATIC_AFTER)
    finally:
        gc.set_threshold(*before)


def test_what_was_loaded_is_not_looked_through_again() -> None:
    before = len(gc.get_objects())
    threshold = gc.get_threshold()
    try:
        garbage.freeze_loaded_objects()
        assert gc.get_freeze_count() > before / 2
        assert len(gc.get_objects()) < before / 2
    finally:
        gc.set_threshold(*threshold)
