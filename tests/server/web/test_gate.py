"""Who gets in: host, origin, keys, tickets, before anything is accepted."""

import asyncio
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server.protocol.errors import WireError
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, bearer, client, socket
from tests.serving import Served
from tests.waiting import until


async def refusal(served: Served, query: str = "", **headers: str) -> tuple[int, str]:
    """Status and code of an upgrade that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(served.ws + query, additional_headers=headers)
    response = caught.value.response
    assert "set-cookie" not in response.headers
    return response.status_code, orjson.loads(response.body or b"{}")["error"]["code"]


FOREIGN = [
    "https://evil.example",
    "null",
    "file://",
    "http://127.0.0.1.evil.example:{port}",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "ftp://127.0.0.1:{port}",
    "http://127.0.0.1.:{port}",
    "http://user@127.0.0.1:{port}",
    "http://127.0.0.1:{port}/path",
    "http://127.0.0.1:{port}@evil.example",
    "http://[::1",
    "",
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_foreign_pages_are_refused(served: Served, origin: str) -> None:
    origin = origin.format(port=served.port)
    assert await refusal(served, origin=origin) == (403, "origin_not_allowed")
    async with client(served, headers={"origin": origin}) as http:
        answer = await http.post("responses", json={"input": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")


async def test_our_own_page_and_those_that_are_named_get_in(nodes: Nodes) -> None:
    async with nodes(allowed_origins="https://app.example.com") as served:
        for origin in (f"http://127.0.0.1:{served.port}", "https://app.example.com", "https://APP.example.com"):
            async with socket(served, additional_headers={"origin": origin}) as peer:
                assert (await peer.answer("[tokens=1]"))["status"] == "completed"
        for near in ("https://app.example.com.evil.tld", "http://app.example.com", "https://app.example.com:444"):
            assert await refusal(served, origin=near) == (403, "origin_not_allowed")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"])
async def test_foreign_hosts_are_refused(served: Served, host: str) -> None:
    async with client(served, headers={"host": host}) as http:
        answer = await http.get("models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
        assert (await http.get(served.http.removesuffix("/v1") + "/healthz")).status_code == 200


async def test_keys(nodes: Nodes) -> None:
    async with nodes(api_keys="alice:secret") as served:
        for wrong in ("", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret"):
            assert await refusal(served, authorization=wrong) == (401, "invalid_api_key")
        assert await refusal(served) == (401, "invalid_api_key")
        assert await refusal(served, "?ticket=") == (401, "invalid_api_key")
        assert await refusal(served, "?ticket=never-made") == (401, "invalid_api_key")
        async with socket(served, additional_headers=bearer("secret")) as peer:
            assert (await peer.answer("[tokens=1]"))["status"] == "completed"


async def test_every_path_asks_for_the_key(nodes: Nodes) -> None:
    async with nodes(api_keys="alice:secret") as served, client(served) as http:
        paths: list[tuple[str, str]] = [
            ("POST", "responses"), ("GET", "responses"), ("GET", "responses/r"), ("DELETE", "responses/r"),
            ("POST", "responses/r/cancel"), ("GET", "responses/r/input_items"), ("POST", "responses/input_tokens"),
            ("GET", "models"), ("GET", "models/scripted"), ("POST", "tickets"), ("POST", "conversations"),
            ("GET", "conversations"), ("GET", "conversations/c"), ("POST", "conversations/c"),
            ("DELETE", "conversations/c"), ("GET", "conversations/c/items"), ("POST", "conversations/c/items"),
            ("GET", "conversations/c/items/i"), ("DELETE", "conversations/c/items/i"),
        ]  # fmt: skip
        for method, path in paths:
            answer = await http.request(method, path, content=b"{}" if method == "POST" else None)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), path


async def test_a_ticket_opens_one_socket_of_a_thousand(nodes: Nodes) -> None:
    async with nodes(api_keys="alice:secret") as served, client(served, headers=bearer("secret")) as http:
        ticket = (await http.post("tickets")).json()["ticket"]
        authenticator = served.running.sockets.authenticator
        headers = {"host": "127.0.0.1"}

        async def take() -> str | None:
            try:
                return await authenticator.websocket_caller(headers, ticket)
            except WireError:
                return None

        callers: list[Any] = await asyncio.gather(*(take() for _ in range(1000)))
        assert sorted(filter(None, callers)) == ["alice"]
        assert await refusal(served, f"?ticket={ticket}") == (401, "invalid_api_key")


async def test_a_ticket_stands_for_its_caller(nodes: Nodes) -> None:
    async with nodes(api_keys="alice:secret") as served, client(served, headers=bearer("secret")) as http:
        ticket = (await http.post("tickets")).json()["ticket"]
        async with socket(served, f"?ticket={ticket}") as peer:
            made = await peer.answer("[tokens=1]")
        assert (await http.get(f"responses/{made['id']}")).json() == made


async def raw(served: Served, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.readline()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/responses HTTP/1.0\r\n",
        b"GET /v1/responses HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        b"GET /v1/responses HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"GET /v1/nowhere HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"GET /v1/responses HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
        b"GET /v1/responses HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n",
        b"NONSENSE\r\n",
    ],
)
async def test_broken_handshakes_get_a_client_error(served: Served, head: bytes) -> None:
    status = (await raw(served, head + b"Host: 127.0.0.1\r\n\r\n")).split()[1]
    assert status.startswith(b"4"), status
    async with socket(served) as peer:
        assert (await peer.answer("[tokens=1]"))["status"] == "completed"


async def test_a_plain_get_is_told_to_upgrade(served: Served) -> None:
    async with client(served) as http:
        assert (await http.get("responses")).status_code == 426


async def test_sockets_are_counted(served: Served) -> None:
    async with socket(served):
        await until(lambda: served.telemetry.gauges.sockets == 1, "one is open")
    await until(lambda: served.telemetry.gauges.sockets == 0, "none is open")
