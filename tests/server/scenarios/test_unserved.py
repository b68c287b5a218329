"""Turns that wait for a model which no node has any more."""

import asyncio

from engine.scripted import ScriptedEngine
from tests.server.peer import client, until
from tests.serving import Served, serving, settings_for

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
