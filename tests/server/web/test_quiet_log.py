"""What clients do wrong is no line in the operator's log, over any transport."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.scripted import ScriptedEngine
from tests.server.conftest import Nodes
from tests.server.peer import client, socket

HTTP: list[tuple[str, str, object]] = [
    ("GET", "nowhere", None),
    ("PUT", "models", None),
    ("GET", "models/none", None),
    ("GET", "responses", None),
    ("GET", "responses/resp_none", None),
    ("GET", "responses/resp_none?stream=true", None),
    ("GET", "responses/resp_none/input_items", None),
    ("DELETE", "responses/resp_none", None),
    ("POST", "responses/resp_none/cancel", None),
    ("GET", "conversations/conv_none", None),
    ("POST", "conversations/conv_none", {"metadata": {}}),
    ("DELETE", "conversations/conv_none", None),
    ("GET", "conversations?after=conv_none", None),
    ("GET", "conversations/conv_none/items", None),
    ("POST", "conversations/conv_none/items", {"items": [{"role": "user", "content": "x"}]}),
    ("GET", "conversations/conv_none/items/msg_none", None),
    ("DELETE", "conversations/conv_none/items/msg_none", None),
    ("POST", "responses", {"input": "x", "conversation": "conv_none"}),
    ("POST", "responses", {"input": "x", "previous_response_id": "resp_none"}),
    ("POST", "responses", {"input": "x", "model": "none"}),
    ("POST", "responses", {"input": "x", "temperature": 99}),
    ("POST", "responses/input_tokens", {"input": "x", "conversation": "conv_none"}),
    ("POST", "responses", []),
]


def complaints(lines: list[Any]) -> list[Any]:
    assert "ready" in [line["event"] for line in lines]  # lines were seen at all
    return [line for line in lines if line["log_level"] in {"warning", "error", "critical"}]


@pytest.mark.parametrize(("method", "path", "body"), HTTP)
async def test_over_http(nodes: Nodes, method: str, path: str, body: object) -> None:
    with capture_logs() as lines:
        async with nodes() as served, client(served) as http:
            answer = await http.request(method, path, json=body)
            assert 400 <= answer.status_code < 500
    assert complaints(lines) == []


async def test_over_a_websocket(nodes: Nodes) -> None:
    with capture_logs() as lines:
        async with nodes() as served, socket(served) as peer:
            for fields in (
                {"conversation": "conv_none"},
                {"previous_response_id": "resp_none"},
                {"model": "none"},
                {"temperature": 99},
            ):
                await peer.ask("x", **fields)
                assert (await peer.error())["status"] in {400, 404}
            await peer.send("throughline:resume", response_id="resp_none")
            assert (await peer.error())["status"] == 404
            await peer.send("throughline:cancel", response_id="resp_none")
            assert (await peer.error())["status"] == 404
            await peer.socket.send("{")
            assert (await peer.error())["status"] == 400
    assert complaints(lines) == []


async def test_a_conversation_in_which_a_turn_runs(nodes: Nodes, slow: ScriptedEngine) -> None:
    with capture_logs() as lines:
        async with nodes(slow) as served, client(served) as http, socket(served) as peer:
            id = (await http.post("conversations", json={})).json()["id"]
            await peer.ask("[tokens=2000]", conversation=id)
            await peer.until("response.in_progress")
            item = {"role": "user", "content": "x"}
            for answer in (
                await http.post("responses", json={"input": "x", "conversation": id}),
                await http.post(f"conversations/{id}/items", json={"items": [item]}),
                await http.delete(f"conversations/{id}"),
            ):
                assert answer.json()["error"]["code"] == "conversation_locked"
    assert complaints(lines) == []
