"""Who is alive, read by read."""

import asyncio

import pytest

from server.node.heartbeat import FailureDetector, HeartbeatCallbacks, HeartbeatConfig, Heartbeater, NodeInfo
from server.store.errors import StoreDown
from server.store.memory.store import MemoryStore
from server.store.types import ClusterSnapshot, TurnRef
from tests.server.store.conftest import no_tasks_left
from tests.waiting import until

__all__ = ["no_tasks_left"]

READY = NodeInfo("ready", "m", 3)
CONFIG = HeartbeatConfig(missed_beats=4, grace_after_silence=2.0, forget_after=60.0)


def detector(*reads: dict[str, int], **nodes: NodeInfo) -> FailureDetector:
    """After these reads, 0.15 s apart."""
    made = FailureDetector("me", CONFIG)
    for index, counts in enumerate(reads):
        made.observe(counts, {owner: nodes.get(owner, READY) for owner in counts}, 100.0 + 0.15 * index)
    return made


def still(count: int, reads: int) -> list[dict[str, int]]:
    return [{"me": index, "b": count} for index in range(reads)]


@pytest.mark.parametrize(("reads", "dead"), [(1, False), (4, False), (5, True), (9, True)])
def test_a_count_must_stand_still_in_four_reads(reads: int, dead: bool) -> None:
    assert detector(*still(7, reads)).is_gone("b", 200.0) is dead


def test_a_count_that_moves_lives() -> None:
    moving = [{"me": index, "b": index // 3} for index in range(12)]
    assert not detector(*moving).is_gone("b", 200.0)


def test_nobody_is_dead_for_himself() -> None:
    assert not detector(*[{"me": 1}] * 9).is_gone("me", 200.0)


def test_who_counts_again_lives_again() -> None:
    made = detector(*still(7, 6))
    assert made.is_gone("b", 200.0)
    assert made.observe({"me": 9, "b": 8}, {"me": READY, "b": READY}, 201.0)
    assert not made.is_gone("b", 201.0)


def test_who_is_not_listed_is_dead_after_four_reads_too() -> None:
    assert not detector(*[{"me": index} for index in range(3)]).is_gone("x", 200.0)
    assert detector(*[{"me": index} for index in range(4)]).is_gone("x", 200.0)


def test_an_unanswered_read_forgives_everybody_for_a_while() -> None:
    made = detector(*still(7, 4))
    made.on_unanswered(101.0)
    for index in range(8):
        made.observe({"me": index, "b": 7}, {"me": READY, "b": READY}, 101.1 + 0.15 * index)
    assert not made.is_gone("b", 102.9)
    assert not made.is_gone("x", 102.9)
    made.observe({"me": 20, "b": 7}, {"me": READY, "b": READY}, 103.1)
    assert made.is_gone("b", 103.1)
    assert made.is_gone("x", 103.1)


def test_only_counting_brings_the_dead_back() -> None:
    made = detector(*still(7, 6))
    made.on_unanswered(102.0)
    made.observe({"me": 9, "b": 7}, {"me": READY, "b": READY}, 102.1)
    assert made.is_gone("b", 102.1)
    made.observe({"me": 10, "b": 8}, {"me": READY, "b": READY}, 102.2)
    assert not made.is_gone("b", 102.2)


@pytest.mark.parametrize(("state", "gone"), [("failed", True), ("stopped", True), ("draining", False)])
def test_whose_engine_is_dead_writes_no_more(state: str, gone: bool) -> None:
    assert detector({"me": 1, "b": 1}, b=NodeInfo(state)).is_gone("b", 200.0) is gone


def test_only_ready_nodes_of_the_model_are_able() -> None:
    notes = {"b": NodeInfo("ready", "m", 5), "c": NodeInfo("draining", "m", 9), "d": NodeInfo("ready", "other", 9)}
    assert detector({"me": 1, "b": 1, "c": 1, "d": 1}, **notes).free_slots("m") == {"me": 3, "b": 5}


def test_a_read_says_whether_a_state_changed() -> None:
    made = FailureDetector("me", CONFIG)
    assert made.observe({"b": 1}, {"b": READY}, 1.0)
    assert not made.observe({"b": 2}, {"b": NodeInfo("ready", "m", 0)}, 1.1)
    assert made.observe({"b": 3}, {"b": NodeInfo("draining", "m", 0)}, 1.2)


def test_the_dead_are_forgotten_after_a_minute() -> None:
    made = detector(*still(7, 6))
    assert made.long_dead(160.0) == []
    assert made.long_dead(161.0) == [("b", 7)]


@pytest.mark.parametrize(
    ("state", "count", "gone"),
    [("ready", 7, True), ("ready", 8, False), ("ready", 1, False), ("ready", None, True), ("stopped", 8, True)],
)
def test_a_verdict_holds_while_the_count_stands_where_it_stood(state: str, count: int | None, gone: bool) -> None:
    """An owner who beats again, or beats from 1 in a Redis that came back empty, is not fenced; one that ended is."""
    made = detector(*still(7, 6), b=NodeInfo(state))
    assert made.is_gone("b", 101.0)
    assert made.is_still_gone("b", count, 101.0) is gone


async def test_a_dead_node_is_looked_at_again_before_it_is_fenced() -> None:
    store = MemoryStore()
    await store.beat("b", b'{"state":"ready"}')
    node = heartbeater(store)
    while "b" not in node.detector.dead_nodes():
        await node.beat()
    assert await node.is_still_gone("b")
    await store.beat("b", b'{"state":"ready"}')
    assert "b" in node.detector.dead_nodes()
    assert not await node.is_still_gone("b")


def heartbeater(store: MemoryStore) -> Heartbeater:
    callbacks = HeartbeatCallbacks(changed=lambda: None, notified=lambda _: None)
    return Heartbeater(store, FailureDetector("a", HeartbeatConfig(interval=0.005)), lambda: READY, callbacks)


class Mute(MemoryStore):
    """Answers only when it may."""

    speaks = True

    async def beat(self, owner: str, note: bytes) -> ClusterSnapshot:
        if not self.speaks:
            raise StoreDown("mute")
        return await super().beat(owner, note)


async def test_a_node_finds_a_dead_neighbour_and_takes_notifications() -> None:
    store = Mute()
    notifications: list[TurnRef] = []
    dead: list[set[str]] = []  # with each change

    def changed() -> None:
        dead.append(set(node.detector.dead_nodes()))

    await store.beat("b", b'{"state":"ready","model":"m","free":1}')
    config = HeartbeatConfig(interval=0.005, forget_after=0.02)
    callbacks = HeartbeatCallbacks(changed=changed, notified=notifications.append)
    node = Heartbeater(store, FailureDetector("a", config), lambda: READY, callbacks)
    task = asyncio.create_task(node.run())
    await until(lambda: {"b"} in dead, "b is dead")
    await store.notify_owner("a", TurnRef("alice", "resp_1"))
    await until(lambda: notifications == [TurnRef("alice", "resp_1")], "the notification is there")
    await until(lambda: "b" not in node.detector.nodes, "b is struck out")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_node_beats_on_when_nobody_answers() -> None:
    store = Mute()
    node = heartbeater(store)
    store.speaks = False
    await node.beat()
    assert not node.detector.nodes
    store.speaks = True
    await node.beat()
    assert node.detector.free_slots("m") == {"a": 3}


async def test_a_note_of_another_version_is_read_as_far_as_it_goes() -> None:
    store = MemoryStore()
    await store.beat("new", b'{"state":"ready","model":"m","free":2,"more":1}')
    await store.beat("odd", b"what")
    node = heartbeater(store)
    await node.beat()
    assert node.detector.free_slots("m") == {"a": 3, "new": 2}
