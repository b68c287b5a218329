"""Responses over HTTP: whole, streamed, in the background, stopped, deleted."""

import asyncio
from typing import Any

import orjson
import pytest

from engine.scripted import ScriptedEngine
from server.web.sse import one_line_each
from tests.server.conftest import Nodes
from tests.server.peer import client, final, numbers, said, socket, sse, text_of
from tests.serving import Served
from tests.waiting import until


async def test_a_whole_response(served: Served) -> None:
    async with client(served) as http:
        made = (await http.post("responses", json={"input": "[tokens=30]"})).json()
        assert (made["status"], made["object"]) == ("completed", "response")
        assert (await http.get(f"responses/{made['id']}")).json() == made


async def test_a_stream_is_the_log(served: Served) -> None:
    async with client(served) as http:
        answer = await http.post("responses", json={"input": "[tokens=30]", "stream": True})
        events = sse(answer.text)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert numbers(events) == list(range(len(events)))
        assert said(events) == text_of(final(events))
        names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
        assert names == [event["type"] for event in events]


async def test_background_answers_at_once(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served, client(served) as http:
        made = (await http.post("responses", json={"input": "[tokens=100]", "background": True})).json()
        assert (made["status"], made["background"], made["output"]) == ("in_progress", True, [])
        assert (await http.get(f"responses/{made['id']}")).json()["status"] == "in_progress"
        events = sse((await http.get(f"responses/{made['id']}?stream=true")).text)
        assert final(events)["status"] == "completed"


async def test_background_needs_to_be_kept(served: Served) -> None:
    async with client(served) as http:
        answer = await http.post("responses", json={"input": "x", "background": True, "store": False})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")


async def test_a_client_that_leaves_an_sse_stream_leaves_nothing_behind(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=0)) as served, client(served) as http:
        async with http.stream("POST", "responses", json={"input": "[hang@5]", "stream": True}) as answer:
            async for line in answer.aiter_lines():
                if "output_text.delta" in line:
                    break
        await until(lambda: not served.node.presence.watched_turns(), "the viewer left")
        assert len(served.node.scheduler.running) == 1  # a stored turn goes on


async def test_an_unkept_turn_without_a_reader_is_given_up(nodes: Nodes) -> None:
    """Over HTTP the reader is whoever waits for the whole response."""
    async with nodes(ScriptedEngine(rate=0)) as served, client(served) as http:
        served.node.presence.grace = 0.05
        asking = asyncio.create_task(http.post("responses", json={"input": "[hang@5]", "store": False}))
        await until(lambda: served.node.presence.watched_turns(), "somebody reads")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not served.node.scheduler.running, "it was cancelled")


async def test_a_stored_turn_whose_client_leaves_goes_on(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served, client(served) as http:
        asking = asyncio.create_task(http.post("responses", json={"input": "[tokens=100]"}))
        await until(lambda: served.node.presence.watched_turns(), "somebody reads")
        (ref,) = served.node.scheduler.running
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not served.node.scheduler.running, "it ended")
        assert (await http.get(f"responses/{ref.id}")).json()["status"] == "completed"


async def test_cancel_keeps_what_was_said(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served, client(served) as http, socket(served) as peer:
        await peer.ask("[tokens=5000]", max_output_tokens=5000)
        seen = await peer.until("response.output_text.delta")
        id = seen[0]["response"]["id"]
        stopped = (await http.post(f"responses/{id}/cancel")).json()
        assert stopped["status"] == "cancelled"
        seen += await peer.turn()
        assert seen[-1]["type"] == "response.incomplete"
        assert final(seen) == stopped
        assert said(seen) == text_of(stopped) != ""
        assert (await http.post(f"responses/{id}/cancel")).json() == stopped
        following = await peer.answer("[tokens=2]", previous_response_id=id)
        assert following["usage"]["input_tokens"] > len(text_of(stopped))


async def test_cancel_after_the_end_returns_the_response_as_it_ended(served: Served) -> None:
    async with client(served) as http, socket(served) as peer:
        made = await peer.answer("[tokens=3]")
        answer = await http.post(f"responses/{made['id']}/cancel")
        assert (answer.status_code, answer.json()) == (200, made)
        await peer.send("throughline:cancel", response_id=made["id"])
        told = await peer.next()
        assert (told["type"], told["response"]) == ("throughline:cancelled", made)


async def test_a_running_turn_is_stopped_before_it_is_deleted(nodes: Nodes) -> None:
    engine = ScriptedEngine()
    async with nodes(engine) as served, client(served) as http:
        made = (await http.post("responses", json={"input": "[hang@2]", "background": True})).json()
        assert (await http.delete(f"responses/{made['id']}")).json()["deleted"] is True
        assert not engine.running
        assert (await http.get(f"responses/{made['id']}")).status_code == 404


async def test_input_items(served: Served) -> None:
    items = [{"role": "user", "content": f"{n}"} for n in range(5)]
    async with client(served) as http:
        made = (
            await http.post("responses", json={"input": [*items, {"role": "user", "content": "[tokens=1]"}]})
        ).json()
        at = f"responses/{made['id']}/input_items"
        whole = (await http.get(at, params={"order": "asc"})).json()
        assert [item["content"][0]["text"] for item in whole["data"]] == ["0", "1", "2", "3", "4", "[tokens=1]"]
        page = (await http.get(at, params={"order": "asc", "limit": 2, "after": whole["data"][1]["id"]})).json()
        assert (page["data"], page["has_more"]) == (whole["data"][2:4], True)
        for bad in ({"limit": "0"}, {"limit": "101"}, {"limit": "0000010000"}, {"limit": "x"}, {"order": "up"}):
            assert (await http.get(at, params=bad)).status_code == 400, bad
        assert (await http.get(at, params={"after": "msg_none"})).status_code == 404


async def test_input_tokens_are_those_that_are_used(served: Served) -> None:
    async with client(served) as http:
        counted = (await http.post("responses/input_tokens", json={"input": "[tokens=1]"})).json()
        made = (await http.post("responses", json={"input": "[tokens=1]"})).json()
        assert counted == {"object": "response.input_tokens", "input_tokens": made["usage"]["input_tokens"]}


BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "responses", b"{", 400, "invalid_request_error"),
    ("POST", "responses", b"\xff\xfe", 400, "invalid_request_error"),
    ("POST", "responses", b"[]", 400, "invalid_request_error"),
    ("POST", "responses", b"", 400, "invalid_request_error"),
    ("POST", "responses", b'{"input":"x","model":"gpt-99"}', 404, "model_not_found"),
    ("POST", "responses", b'{"input":"' + b"x" * 5000 + b'"}', 413, "request_too_large"),
    ("POST", "conversations", b'{"items":' + b"[" * 200 + b"]" * 200 + b"}", 400, "invalid_request_error"),
    ("GET", "responses", None, 426, "upgrade_required"),
    ("PUT", "responses", None, 405, "method_not_allowed"),
    ("GET", "nowhere", None, 404, "not_found"),
    ("GET", "models/gpt-99", None, 404, "model_not_found"),
    ("GET", "responses/resp_none", None, 404, "not_found"),
    ("DELETE", "responses/resp_none", None, 404, "not_found"),
    ("POST", "responses/resp_none/cancel", None, 404, "not_found"),
    ("GET", "conversations/conv_none", None, 404, "not_found"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD)
async def test_refusals(nodes: Nodes, method: str, path: str, body: Any, status: int, code: str) -> None:
    async with nodes(max_message_bytes=4096) as served, client(served) as http:
        answer = await http.request(method, path, content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.json()["error"]["message"]


async def test_keep_alives_on_a_quiet_stream(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.web.sse.KEEP_ALIVE", 0.02)
    async with nodes(ScriptedEngine(rate=0)) as served, client(served) as http:
        answer = await http.post("responses", json={"input": "[first=1] [tokens=2]", "stream": True})
        assert ": keep-alive\n\n" in answer.text
        assert final(sse(answer.text))["status"] == "completed"


LINE_ENDS = "a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r\nb"


async def test_the_line_ends_of_unicode_do_not_end_a_line(served: Served) -> None:
    """Also where clients split by more than the standard says, as httpx does; what they say stays the same."""
    async with client(served) as http:
        request = {"input": "[tokens=2]", "metadata": {"text": LINE_ENDS}, "stream": True}
        made = await http.post("responses", json=request)
        last = final(sse(made.text))
        assert last["metadata"] == {"text": LINE_ENDS}
        again = await http.get(f"responses/{last['id']}", params={"stream": "true"})
        for text in (made.text, again.text):
            assert text.splitlines() == text.split("\n")[:-1]
            assert [line.split(":")[0] for line in text.splitlines() if line] == ["event", "data"] * len(sse(text))
            assert final(sse(text)) == last


def test_what_is_escaped_is_json_and_the_rest_stays_as_it_is() -> None:
    text = f"„typographic“ … é 日本語 😀 {LINE_ENDS}"
    line = one_line_each(orjson.dumps(text))
    assert orjson.loads(line) == text
    assert len(line.decode().splitlines()) == 1
    assert "„typographic“ … é 日本語 😀".encode() in line
    plain = orjson.dumps("„“ …\xc2\xa0é")
    assert one_line_each(plain) is plain
