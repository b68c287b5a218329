"""Turns that wait for a model which no node has any more."""

import asyncio
import time

import pytest

from engine.scripted import ScriptedEngine
from server.node import reconciler
from server.store.errors import StoreDown
from server.store.types import Turn, TurnRef
from tests.server.peer import client
from tests.serving import Served, serving, settings_for
from tests.waiting import until

OTHER = "scripted-2"


async def queued(served: Served) -> tuple[str, str]:
    """A turn that waits in a conversation, behind one that holds the only slot; their ids."""
    async with client(served) as http:
        await http.post("responses", json={"input": "[first=100]", "background": True, "store": True})
        conversation = (await http.post("conversations", json={})).json()["id"]
        asked = {"input": "[tokens=3]", "background": True, "conversation": conversation}
        answer = (await http.post("responses", json=asked)).json()
        assert answer["status"] == "queued"
        return answer["id"], conversation


async def test_a_waiting_turn_ends_once_no_node_has_its_model(empty: str) -> None:
    settings = settings_for(empty, queue_seconds=1)
    async with serving(settings, ScriptedEngine(rate=0, slots=4, version=OTHER)) as left:
        async with serving(settings, ScriptedEngine(rate=0, slots=1)) as first:
            id, conversation = await queued(first)
            await asyncio.sleep(2.5)  # longer than it would be kept: its model is there
            async with client(left) as http:
                assert (await http.get(f"responses/{id}")).json()["status"] == "queued"
        async with client(left) as http:
            await http.get(f"responses/{id}", params={"stream": "true"}, timeout=60)  # to its last event
            response = (await http.get(f"responses/{id}")).json()
            assert (response["status"], response["error"]["code"]) == ("failed", "cannot_continue")
            answer = await http.post("responses", json={"input": "[tokens=3]", "conversation": conversation})
            assert answer.status_code == 200
            await until(lambda: left.node.scheduler.is_idle, "nothing runs")


async def test_an_orphan_waits_for_a_busy_node_that_has_its_model(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes, a node with another model does not end it."""
    monkeypatch.setattr(reconciler, "ORPHANED_SECONDS", 0.1)
    settings = settings_for(empty)
    async with (
        serving(settings, ScriptedEngine(rate=0, slots=4, version=OTHER)) as left,
        serving(settings, ScriptedEngine(rate=0, slots=1)) as busy,
        serving(settings, ScriptedEngine(rate=0, slots=1)) as first,
        client(busy) as http,
        client(first) as other,
    ):
        await until(lambda: len(left.node.detector.nodes) == 3, "all know each other")
        holding = (await http.post("responses", json={"input": "[hang@1]", "background": True})).json()["id"]
        orphan = (await other.post("responses", json={"input": "[hang@3]", "background": True})).json()["id"]
        await until(lambda: first.node.scheduler.running, "it runs")
        assert isinstance(first.engine, ScriptedEngine)
        first.engine.die("a test killed it")
        orphans = left.running.reconciler._orphans
        await until(lambda: any(time.monotonic() - since > 1 for since in orphans.values()), "it was looked at often")
        assert (await http.get(f"responses/{orphan}")).json()["status"] == "in_progress"
        await http.post(f"responses/{holding}/cancel")
        await until(lambda: {ref.id for ref in busy.node.scheduler.running} == {orphan}, "the busy one goes on with it")


async def test_a_partition_that_is_away_for_a_moment_starts_no_clock_afresh(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(partition: int) -> list[Turn]:
        raise StoreDown("away")

    async with serving(settings_for(empty)) as served:
        known, reconciler = TurnRef("", "resp_1"), served.running.reconciler
        reconciler._unserved[known] = 1.0
        with monkeypatch.context() as patch:
            patch.setattr(served.node.resources.store, "unfinished_turns", away)
            await reconciler.check_all()
            assert known in reconciler._unserved
        await reconciler.check_all()
        assert known not in reconciler._unserved
