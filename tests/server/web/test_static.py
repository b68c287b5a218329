"""The page's files, and nothing beside them."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from server.app import STATIC
from server.web.static import StaticPages
from tests.server.peer import PATIENCE, client
from tests.serving import Served

FILES = sorted(path.name for path in STATIC.iterdir())
# Paths as bytes on the wire: clients tidy them up.
OUTSIDE = [
    b"/../pyproject.toml",
    b"/../../pyproject.toml",
    b"/%2e%2e/%2e%2e/pyproject.toml",
    b"/..%2f..%2fpyproject.toml",
    b"/%2e%2e%2f%2e%2e%2fpyproject.toml",
    b"/..%5c..%5cpyproject.toml",
    b"/..\\..\\pyproject.toml",
    b"/%252e%252e/%252e%252e/pyproject.toml",
    b"/%c0%ae%c0%ae/pyproject.toml",
    b"/%uff0e%uff0e/pyproject.toml",
    b"//etc/passwd",
    b"/%2fetc/passwd",
    b"/%2f%2fetc%2fpasswd",
    b"/./../../pyproject.toml",
    b"/index.html/../../../pyproject.toml",
    b"/index.html%00.js",
    b"/%00",
    b"/%ff%fe",
    b"/%",
    b"/%zz",
    b"/" + b"a" * 300,
    b"/" + b"a/" * 2000,
    b"/" + b"../" * 2000 + b"etc/passwd",
    b"/.git/config",
    b"/index.html?../../pyproject.toml#x",
    b"/dist/index.html",
    b"/static/dist/index.html",
    b"/~root/x",
    b"/con",
]


async def raw(served: Served, path: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_the_folder_is_served(served: Served, path: bytes) -> None:
    status, body = await raw(served, path)
    index = (STATIC / "index.html").read_bytes()
    assert status in {400, 404} or (status == 200 and body == index), (status, body[:200])
    assert b"throughline" not in body.lower() or body == index
    assert b"root:" not in body


@pytest.mark.parametrize("name", FILES)
async def test_each_file_is_served_with_the_policy(served: Served, name: str) -> None:
    async with client(served) as http:
        answer = await http.get(served.http.removesuffix("v1") + name)
        assert (answer.status_code, answer.content) == (200, (STATIC / name).read_bytes())
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("etag", ["{}", "W/{}", '"other", {}', "*", '"a",{}'])
async def test_a_file_that_is_known_is_not_sent_again(served: Served, etag: str) -> None:
    at = served.http.removesuffix("v1")
    async with client(served) as http:
        known = (await http.get(at)).headers
        answer = await http.get(at, headers={"if-none-match": etag.format(known["etag"])})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", known["etag"])
        assert "content-security-policy" in answer.headers
        assert (await http.get(at, headers={"if-none-match": '"other"'})).status_code == 200
        assert (await http.get(at, headers={"if-modified-since": known["last-modified"]})).status_code == 304
        assert (await http.get(at, headers={"if-modified-since": "rubbish"})).status_code == 200


async def test_parts_of_a_file(served: Served) -> None:
    at = served.http.removesuffix("v1") + "widget.js"
    whole = (STATIC / "widget.js").read_bytes()
    async with client(served) as http:
        part = await http.get(at, headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
        assert (await http.get(at, headers={"range": "bytes=-5"})).content == whole[-5:]
        assert (await http.get(at, headers={"range": f"bytes={len(whole)}-"})).status_code == 416
        for bad in ("bytes=9-2", "bytes=x-y", "bytes=", "lines=1-2", "bytes=-", "bytes=1-2-3"):
            assert (await http.get(at, headers={"range": bad})).status_code in {200, 400, 416}, bad
        stale = await http.get(at, headers={"range": "bytes=0-1", "if-range": '"other"'})
        assert (stale.status_code, stale.content) == (200, whole)


async def test_a_thousand_parts_cost_no_more_than_the_file(served: Served) -> None:
    at = served.http.removesuffix("v1") + "widget.js"
    whole = len((STATIC / "widget.js").read_bytes())
    async with client(served) as http:
        for ranges in (",".join(["0-"] * 5000), ",".join(f"{n}-{n}" for n in range(0, 9000, 2))):
            began = time.process_time()
            answer = await http.get(at, headers={"range": f"bytes={ranges}"})
            assert answer.status_code in {200, 206, 400, 416, 431}
            assert len(answer.content) <= whole + 200
            assert time.process_time() - began < 2  # of the processor: how busy the machine is does not count


async def test_a_checkout_without_the_built_page_leaves_everything_to_the_api(tmp_path: Path) -> None:
    asked: list[str] = []

    async def otherwise(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])

    async def unused(*_: object) -> Any:
        raise AssertionError("nothing is read or sent")

    pages = StaticPages(tmp_path / "none", otherwise)
    for path in ("/", "/index.html", "/v1/models"):
        await pages({"type": "http", "method": "GET", "path": path, "headers": []}, unused, unused)
    assert asked == ["/", "/index.html", "/v1/models"]
