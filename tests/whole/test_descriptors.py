"""A node that may open few files, and far more connections than that."""

import asyncio
import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage, InvalidStatus

from tests.redis_server import binary, running
from tests.whole.client import Client, connected
from tests.whole.process import Program, program

pytestmark = pytest.mark.redis
DESCRIPTORS = 400
CONNECTIONS = 500


@pytest.fixture
def poor() -> Iterator[tuple[Program, Redis]]:
    """A node with 400 descriptors, and the Redis that it uses."""
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit on this machine")
    with ExitStack() as stack:
        redis = stack.enter_context(running(binary("redis62")))
        flags = ("--engine", "scripted", "--redis-url", redis.url, "--log-format", "json")
        node = stack.enter_context(program(*flags))
        node.descriptors = DESCRIPTORS
        node.start()
        node.wait("/readyz")
        yield node, Redis(unix_socket_path=str(redis.socket))


@pytest.fixture
def silent(poor: tuple[Program, Redis]) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, or half of a handshake."""
    node, _ = poor
    with ExitStack() as stack:
        opened = []
        for number in range(CONNECTIONS):
            opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", node.port))))
            if number % 2:
                opened[-1].sendall(b"GET /v1/responses HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        yield opened


def refusals(node: Program) -> list[dict[str, Any]]:
    """What the log says of connections that were not let in."""
    lines = [json.loads(line) for line in node.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "connection_refused"]


def status(node: Program, path: str) -> int:
    """0 where there is no answer."""
    try:
        with urllib.request.urlopen(node.http + path, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, TimeoutError):
        return 0


def is_open(connection: socket.socket) -> bool:
    """Whether its other end has neither closed it nor said anything."""
    try:
        connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


def open_files(node: Program) -> int:
    assert node.process is not None
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


def cut_redis(redis: Redis) -> None:
    """The node has to open new connections to it."""
    for kind in ("normal", "pubsub"):
        redis.client_kill_filter(_type=kind, skipme=True)


async def answered(client: Client) -> str:
    await client.create("[tokens=3]")
    return str((await client.events())[-1]["type"])


async def let_in(stack: AsyncExitStack, node: Program) -> Client:
    """A client that tries again when it is told to. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await stack.enter_async_context(connected(node.ws))
            except (InvalidStatus, InvalidMessage, ConnectionError):
                await asyncio.sleep(0.2)


async def test_silent_connections_shut_nobody_out(poor: tuple[Program, Redis], silent: list[socket.socket]) -> None:
    """An honest client is in at once, though every silent one is there still; and the log says what goes on."""
    node, redis = poor
    assert open_files(node) < DESCRIPTORS - 64
    async with AsyncExitStack() as stack:
        client = await let_in(stack, node)
        assert sum(map(is_open, silent)) > 100  # nobody had to wait until they were given up
        assert await answered(client) == "response.completed"
        cut_redis(redis)
        assert await answered(client) == "response.completed"
    assert status(node, "/readyz") == 200
    assert [line["reason"] for line in refusals(node)] == ["total"]
    assert refusals(node)[0]["level"] == "warning"


async def test_silent_connections_end(poor: tuple[Program, Redis], silent: list[socket.socket]) -> None:
    node, _ = poor
    began, before = time.monotonic(), open_files(node)
    while open_files(node) > before - 160:
        assert time.monotonic() - began < 60, f"{open_files(node)} are open"
        await asyncio.sleep(0.5)
    for each in silent:
        each.settimeout(60)
        with suppress(ConnectionError):
            while each.recv(1 << 16):
                pass


async def test_open_sockets_leave_what_redis_needs(poor: tuple[Program, Redis]) -> None:
    """All clients are good ones here, and too many: the last are told to come again, and the others notice nothing."""
    node, redis = poor
    async with AsyncExitStack() as stack:
        clients, refused = [], []
        for _ in range(CONNECTIONS):
            try:
                clients.append(Client(await stack.enter_async_context(connect(node.ws))))
            except InvalidStatus as error:
                refused.append(error.response.status_code)
        assert len(clients) > 250
        assert refused == [503] * (CONNECTIONS - len(clients))
        assert status(node, "/healthz") == 200
        cut_redis(redis)
        for client in (clients[0], clients[-1]):
            assert await answered(client) == "response.completed"
        assert {line["reason"] for line in refusals(node)} == {"descriptors"}
        assert status(node, "/readyz") == 200
    async with AsyncExitStack() as stack:
        client = await let_in(stack, node)
        assert await answered(client) == "response.completed"
    assert status(node, "/readyz") == 200
