"""Conversations over HTTP, and turns inside them over sockets."""

from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from tests.server.conftest import Nodes
from tests.server.peer import client, socket
from tests.serving import Served
from tests.waiting import until

USER: dict[str, Any] = {"role": "user", "content": "hello"}


async def test_items_come_in_pages(served: Served) -> None:
    async with client(served) as http:
        at = f"conversations/{(await http.post('conversations', json={'items': [USER] * 5})).json()['id']}/items"
        whole = (await http.get(at, params={"order": "asc"})).json()["data"]
        assert len(whole) == 5
        newest = (await http.get(at, params={"limit": 2})).json()
        assert ([each["id"] for each in newest["data"]], newest["has_more"]) == ([whole[4]["id"], whole[3]["id"]], True)
        rest = (await http.get(at, params={"order": "asc", "after": whole[3]["id"]})).json()
        assert (rest["data"], rest["has_more"]) == ([whole[4]], False)
        assert (await http.get(at, params={"after": "msg_none"})).status_code == 404


BAD: list[tuple[str, Any, str]] = [
    ("", {"items": [USER] * 21}, "items"),
    ("", {"items": {}}, "items"),
    ("", {"items": [1]}, "items[0]"),
    ("", {"metadata": {"a": 1}}, "metadata"),
    ("", {"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ("/items", {}, "items"),
    ("/items", {"items": [{"type": "image"}]}, "items[0].type"),
]


@pytest.mark.parametrize(("path", "body", "param"), BAD)
async def test_bad_bodies_are_named(served: Served, path: str, body: Any, param: str) -> None:
    async with client(served) as http:
        made = (await http.post("conversations", json={})).json()["id"]
        answer = await http.post(f"conversations/{made}{path}" if path else "conversations", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith(param)


async def test_a_repeated_call_with_the_same_key_makes_one_conversation(served: Served) -> None:
    async with client(served) as http:
        once, key = {"metadata": {"title": "once"}, "items": [USER]}, {"idempotency-key": "made by a page"}
        made = [(await http.post("conversations", json=once, headers=key)).json() for _ in range(3)]
        assert made[1:] == made[:1] * 2
        assert len((await http.get("conversations")).json()["data"]) == 1
        assert len((await http.get(f"conversations/{made[0]['id']}/items")).json()["data"]) == 1
        other = await http.post("conversations", json={"metadata": {"title": "other"}}, headers=key)
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
        await http.post(f"conversations/{made[0]['id']}", json={"metadata": {"title": "renamed"}})
        again = (await http.post("conversations", json=once, headers=key)).json()
        assert (again["id"], again["metadata"]["title"]) == (made[0]["id"], "renamed")
        wrong = await http.post("conversations", json=once, headers={"idempotency-key": "x" * 256})
        assert wrong.status_code == 400


async def test_a_running_turn_locks_its_conversation(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine()) as served, client(served) as http, socket(served) as peer:
        id = (await http.post("conversations", json={})).json()["id"]
        await peer.ask("[hang@3]", conversation=id, stream_id="a")
        turn = (await peer.next())["response"]["id"]
        assert (await http.get(f"conversations/{id}")).json()["active_response_id"] == turn
        await peer.ask("x", conversation={"id": id}, stream_id="b")
        while (refused := await peer.next())["type"] != "error":
            pass
        assert (refused["error"]["code"], refused["stream_id"]) == ("conversation_locked", "b")
        for method, path, body in (
            ("POST", "responses", {"input": "x", "conversation": id}),
            ("DELETE", f"conversations/{id}", None),
            ("POST", f"conversations/{id}/items", {"items": [USER]}),
            ("DELETE", f"conversations/{id}/items/msg_x", None),
        ):
            answer = await http.request(method, path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "conversation_locked"), path
        assert (await http.post(f"conversations/{id}", json={"metadata": {"a": "b"}})).status_code == 200
        assert (await http.post(f"responses/{turn}/cancel")).json()["status"] == "cancelled"
        items = (await http.get(f"conversations/{id}/items", params={"order": "asc"})).json()["data"]
        assert [(item["role"], item["status"]) for item in items] == [
            ("user", "completed"),
            ("assistant", "incomplete"),
        ]
        assert (await http.get(f"conversations/{id}")).json()["active_response_id"] is None


async def test_a_conversation_and_a_previous_response_exclude_each_other(served: Served) -> None:
    async with socket(served) as peer:
        await peer.ask("x", conversation="c", previous_response_id="r")
        assert (await peer.error())["code"] == "mutually_exclusive_parameters"


async def test_an_unkept_turn_in_a_conversation_leaves_its_items(served: Served) -> None:
    async with client(served) as http, socket(served) as peer:
        id = (await http.post("conversations", json={})).json()["id"]
        await peer.answer("[tokens=3]", conversation=id, store=False)
        assert len((await http.get(f"conversations/{id}/items")).json()["data"]) == 2


async def test_the_lock_goes_with_a_turn_that_fails(served: Served) -> None:
    async with client(served) as http:
        id = (await http.post("conversations", json={})).json()["id"]
        for ask in ("[fail@0]", "[fail@5]", "[tokens=1]"):
            assert (await http.post("responses", json={"input": ask, "conversation": id})).status_code == 200
        await until(lambda: not served.node.scheduler.running, "all ended")
        assert (await http.delete(f"conversations/{id}")).status_code == 200


async def test_newest_first(served: Served) -> None:
    async with client(served) as http:
        made = [(await http.post("conversations", json={})).json()["id"] for _ in range(3)]
        listed = (await http.get("conversations", params={"limit": 2})).json()
        assert (len(listed["data"]), listed["has_more"]) == (2, True)
        rest = (await http.get("conversations", params={"after": listed["last_id"]})).json()
        assert {each["id"] for each in [*listed["data"], *rest["data"]]} == set(made)
