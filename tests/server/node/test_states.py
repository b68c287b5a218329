"""A node's life: every state with every move, legal or refused, and refused changes nothing."""

from itertools import product

import pytest

from engine.scripted import ScriptedEngine
from server.log.journal import Journal
from server.node.node import NEXT, Node, NodeConfig, NodeState
from server.store.memory.store import MemoryStore
from server.telemetry.instruments import instruments

ORDER = list(NodeState)  # loading, ready, draining, failed, stopped


async def node_in(state: NodeState, journal: Journal, store: MemoryStore) -> Node:
    node = Node(ScriptedEngine(name="demo"), store, journal, instruments(), NodeConfig("demo"))
    if state in {NodeState.READY, NodeState.DRAINING}:
        await node.load()
    if state is NodeState.DRAINING:
        node.begin_drain()
    if state is NodeState.FAILED:
        node.fail("first")
    if state is NodeState.STOPPED:
        await node.close()
    assert node.state is state
    return node


async def move(node: Node, then: NodeState) -> None:
    match then:
        case NodeState.READY:
            await node.load()
        case NodeState.DRAINING:
            node.begin_drain()
        case NodeState.FAILED:
            node.fail("second")
        case NodeState.STOPPED:
            await node.close()


def test_every_state_is_in_the_table() -> None:
    assert NEXT.keys() == set(NodeState)


@pytest.mark.parametrize(("now", "then"), list(product(ORDER, ORDER[1:])), ids=lambda state: str(state))
async def test_a_move_is_made_or_refused(now: NodeState, then: NodeState) -> None:
    store = MemoryStore()
    async with Journal(store) as journal:
        node = await node_in(now, journal, store)
        before = node.error
        await move(node, then)
        legal = then in NEXT[now]
        assert node.state is (then if legal else now)
        assert node.scheduler.is_open is (node.state is NodeState.READY)
        if not legal:
            assert node.error == before
        await node.close()


async def test_an_engine_that_is_ready_too_late_does_not_undo_a_drain() -> None:
    store = MemoryStore()
    async with Journal(store) as journal:
        node = await node_in(NodeState.LOADING, journal, store)
        node.begin_drain()
        await node.load()
        assert (node.state, node.scheduler.is_open) == (NodeState.DRAINING, False)
        await node.close()


@pytest.mark.parametrize("state", ORDER, ids=str)
async def test_others_are_told_slots_only_while_the_engine_serves(state: NodeState) -> None:
    store = MemoryStore()
    async with Journal(store) as journal:
        node = await node_in(state, journal, store)
        info = node.info()
        serves = state in {NodeState.READY, NodeState.DRAINING}
        assert (info.state, info.free_slots > 0, bool(info.model_version)) == (state, serves, serves)
        await node.close()
