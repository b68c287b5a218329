"""Paths and methods that there are not: always JSON, and with the header that says what there is."""

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.server.conftest import Nodes
from tests.server.peer import bearer, client
from tests.serving import Served

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
ALLOWED = {
    "/v1/responses": "GET, HEAD, OPTIONS, POST",
    "/v1/responses/input_tokens": "OPTIONS, POST",
    "/v1/responses/r": "DELETE, GET, HEAD, OPTIONS",
    "/v1/responses/r/cancel": "OPTIONS, POST",
    "/v1/responses/r/input_items": "GET, HEAD, OPTIONS",
    "/v1/models": "GET, HEAD, OPTIONS",
    "/v1/models/scripted": "GET, HEAD, OPTIONS",
    "/v1/models/a/b": "GET, HEAD, OPTIONS",
    "/v1/tickets": "OPTIONS, POST",
    "/v1/conversations": "GET, HEAD, OPTIONS, POST",
    "/v1/conversations/c": "DELETE, GET, HEAD, OPTIONS, POST",
    "/v1/conversations/c/items": "GET, HEAD, OPTIONS, POST",
    "/v1/conversations/c/items/i": "DELETE, GET, HEAD, OPTIONS",
    "/healthz": "GET, HEAD, OPTIONS",
    "/readyz": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
    "/": "GET, HEAD, OPTIONS",
    "/index.html": "GET, HEAD, OPTIONS",
}
MISSING = {
    "/v1/nowhere": None,
    "/v1": None,
    "/v1/": None,
    "/v2/responses": None,
    "/responses": "/v1/responses",
    "/responses/": "/v1/responses",
    "/v1/responses/": "/v1/responses",
    "/v1/v1/responses": "/v1/responses",
    "//v1/responses": "/v1/responses",
    "/v1//responses": "/v1/responses",
    "/models": "/v1/models",
    "/conversations/c/items/": "/v1/conversations/c/items",
    "/v1/healthz": "/healthz",
    "/healthz/": "/healthz",
    "/v1/chat/completions": None,
    "/nowhere": None,
    "/nowhere.html": None,
    "/v1/responses/r/nowhere": None,
    "/v1/" + "x" * 3000: None,
}


@pytest.mark.parametrize("path", ALLOWED)
async def test_wrong_methods_are_told_the_right_ones(served: Served, path: str) -> None:
    allow = ALLOWED[path]
    async with client(served) as http:
        for method in METHODS:
            if method in allow.split(", ") and method != "OPTIONS":
                continue
            answer = await http.request(method, served.http.removesuffix("/v1") + path)
            assert answer.headers["allow"] == allow
            if method == "OPTIONS":
                assert (answer.status_code, answer.content) == (204, b"")
            elif method == "HEAD":
                assert (answer.status_code, answer.content) == (405, b"")
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
                assert path in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", MISSING)
async def test_a_path_that_is_not_there_is_404_for_every_method(served: Served, path: str) -> None:
    meant = MISSING[path]
    async with client(served) as http:
        for method in METHODS:
            answer = await http.request(method, served.http.removesuffix("/v1") + path)
            assert answer.status_code == 404, (method, path)
            if method != "HEAD":
                error = answer.json()["error"]
                assert error["code"] == "not_found"
                assert len(error["message"]) < 600
                assert path[:100] in error["message"]
                assert meant is None or f"; {meant} may be meant." in error["message"]
                assert meant is not None or "may be meant" not in error["message"]


async def test_a_socket_elsewhere_is_told_where(served: Served) -> None:
    for path in ("/responses", "/v1/responses/", "/v1/nowhere", "/", "/v1/models", "/v1"):
        with pytest.raises(InvalidStatus) as caught:
            await connect(served.ws.removesuffix("/v1/responses") + path)
        assert caught.value.response.status_code == 404
        assert b"/v1/responses" in (caught.value.response.body or b"")


async def test_head_answers_as_get_without_a_body(served: Served) -> None:
    async with client(served) as http:
        made = (await http.post("responses", json={"input": "[tokens=2]"})).json()
        at = f"responses/{made['id']}"
        for path in (at, at + "?stream=true", "models", "responses/resp_none", at + "/input_items", "responses"):
            head, whole = await http.head(path), await http.get(path)
            assert (head.status_code, head.content) == (whole.status_code, b"")
            assert head.headers["content-type"] == whole.headers["content-type"]


async def test_statuses_carry_the_headers_that_http_asks_for(nodes: Nodes) -> None:
    async with nodes(api_keys="ann:secret") as served, client(served) as http:
        refused = await http.get("models")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "headers" not in refused.json()["error"]
        plain = await http.get("responses", headers=bearer("secret"))
        assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket")
        with pytest.raises(InvalidStatus) as caught:
            await connect(served.ws)
        assert caught.value.response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("host", ["[", "[::1", "x y", "a/b", ""])
async def test_a_host_that_is_none_does_not_break_the_error(nodes: Nodes, host: str) -> None:
    async with nodes(allowed_hosts="*") as served, client(served, headers={"host": host}) as http:
        assert (await http.get("nowhere")).status_code == 404
        assert (await http.put("models")).status_code == 405
