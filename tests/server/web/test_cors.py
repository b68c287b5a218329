"""What a browser lets the pages of ALLOWED_ORIGINS read and send."""

import asyncio
from typing import Any

import httpx2
import pytest

from server.node.service import TurnService
from tests.server.conftest import Nodes
from tests.server.peer import bearer, client
from tests.serving import Served

APP = "https://app.example.com"
# What the official JavaScript SDK sends from a browser, and Codex.
SDK = (
    "authorization,content-type,idempotency-key,openai-beta,openai-organization,openai-project,user-agent,"
    "x-stainless-arch,x-stainless-helper-method,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
    "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout,"
    "content-encoding,originator,session_id,traceparent"
)


def preflight(method: str = "POST", headers: str | None = SDK, origin: str = APP, **more: str) -> dict[str, str]:
    wanted = {} if headers is None else {"access-control-request-headers": headers}
    return {"origin": origin, "access-control-request-method": method, **wanted, **more}


def shown(answer: httpx2.Response) -> str | None:
    """Whom the browser lets read this answer."""
    origin: str | None = answer.headers.get("access-control-allow-origin")
    return origin


@pytest.mark.parametrize(
    "entry",
    [
        "https://App.Example.com/",
        "https://app.example.com:443",
        "HTTPS://APP.EXAMPLE.COM:0443//",
        "https://app.example.com:",
        "http://other.example , https://app.example.com",
    ],
)
async def test_however_an_entry_is_written_its_pages_can_read_the_answers(nodes: Nodes, entry: str) -> None:
    async with nodes(allowed_origins=entry) as served, client(served, headers={"origin": APP}) as http:
        answer = await http.get("models")
        assert (answer.status_code, shown(answer)) == (200, APP)
        assert "Origin" in answer.headers["vary"]
        assert (await http.options("responses", headers=preflight())).status_code == 204


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("headers", [SDK, SDK.replace(",", ", ").upper(), "x-of-tomorrow", None])
async def test_preflights_of_the_official_sdks(nodes: Nodes, method: str, headers: str | None) -> None:
    async with nodes(allowed_origins=APP, api_keys="ann:secret") as served, client(served) as http:
        answer = await http.options("responses", headers=preflight(method, headers))
        assert (answer.status_code, answer.content, shown(answer)) == (204, b"", APP)
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        assert answer.headers.get("access-control-allow-headers") == headers
        assert int(answer.headers["access-control-max-age"]) >= 600
        assert "access-control-allow-credentials" not in answer.headers
        assert {"Origin", "Access-Control-Request-Headers"} <= set(answer.headers["vary"].split(", "))


async def test_a_page_of_the_internet_that_is_allowed_may_call_a_private_address(nodes: Nodes) -> None:
    async with nodes(allowed_origins=APP) as served, client(served) as http:
        asked = preflight(**{"access-control-request-private-network": "true"})
        answer = await http.options("responses", headers=asked)
        assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("headers", ["a b", "x\u00e4", "x:y", ",", "a,,b", "x" * 5000])
async def test_what_are_no_header_names_is_not_repeated(nodes: Nodes, headers: str) -> None:
    async with nodes(allowed_origins=APP) as served, client(served) as http:
        asked: Any = preflight(headers=None) | {"access-control-request-headers": headers.encode("latin-1")}
        answer = await http.options("responses", headers=asked)
        assert (answer.status_code, shown(answer)) == (204, APP)
        assert "access-control-allow-headers" not in answer.headers


@pytest.mark.parametrize("settings", [{}, {"allowed_origins": APP}])
@pytest.mark.parametrize("origin", ["https://evil.tld", "null", APP + ".evil.tld", APP + ":444"])
async def test_other_pages_read_nothing(nodes: Nodes, settings: dict[str, str], origin: str) -> None:
    async with nodes(**settings) as served, client(served) as http:
        for answer in (
            await http.options("responses", headers=preflight(origin=origin)),
            await http.get("models", headers={"origin": origin}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
            assert shown(answer) is None


async def test_errors_can_be_read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """401, 403, 404, 405, 413, 500 and 503, each with the header that says what to do."""

    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(TurnService, "response", broken)
    settings = {"allowed_origins": APP, "api_keys": "ann:secret", "max_message_bytes": 1024}
    async with nodes(load=False, **settings) as served, client(served, headers={"origin": APP}) as http:
        answers = [
            await http.get("models"),
            await http.get("models", headers={"host": "evil.tld"}),
            await http.get("nowhere"),
            await http.put("models"),
            await http.post("responses", content=b"x" * 2000, headers=bearer("secret")),
            await http.get("responses/resp_1", headers=bearer("secret")),
            await http.post("responses", json={"input": "x"}, headers=bearer("secret")),
        ]
        assert [answer.status_code for answer in answers] == [401, 403, 404, 405, 413, 500, 503]
        for answer in answers:
            assert shown(answer) == APP
            assert answer.json()["error"]["message"]
        assert answers[-1].headers["retry-after"]
        exposed = answers[-1].headers["access-control-expose-headers"].split(", ")
        assert {"retry-after", "x-request-id"} <= set(exposed)


@pytest.mark.parametrize(("head", "status"), [(b"X: " + b"x" * 1_000_000, 431), (b"Content-Length: x", 400)])
async def test_errors_that_no_application_sees_can_be_read(nodes: Nodes, head: bytes, status: int) -> None:
    async with nodes(allowed_origins=APP) as served:
        for origin in (APP, "https://evil.tld"):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            begin = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: " + origin.encode() + b"\r\n"
            writer.write(begin + head + b"\r\n\r\n")
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            assert int(answer.split()[1]) == status
            assert (b"access-control-allow-origin: " + origin.encode() in answer) is (origin == APP)


async def test_a_stream_can_be_read(nodes: Nodes) -> None:
    async with nodes(allowed_origins=APP) as served, client(served, headers={"origin": APP}) as http:
        answer = await http.post("responses", json={"input": "[tokens=2]", "stream": True})
        assert (shown(answer), answer.headers["content-type"]) == (APP, "text/event-stream; charset=utf-8")


async def test_the_widget_s_files_are_for_everyone_who_is_let_in(nodes: Nodes) -> None:
    async with nodes(allowed_origins=APP) as served, client(served, headers={"origin": APP}) as http:
        answer = await http.get(served.http.removesuffix("v1"))
        assert (answer.status_code, shown(answer)) == (200, "*")


async def test_without_other_pages_nothing_is_marked(served: Served) -> None:
    async with client(served, headers={"origin": served.http.removesuffix("/v1")}) as http:
        answer = await http.get("models")
        assert (answer.status_code, shown(answer)) == (200, None)
