"""The backends that the contract is checked against."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from server.store.memory.store import MemoryStore
from server.store.redis.client import Client
from server.store.redis.store import RedisStore, connect
from tests.redis_cluster import Masters, masters
from tests.redis_server import Listening, Server, binary, listening, running
from tests.server.store.faulty import Faulty
from tests.waiting import until

if TYPE_CHECKING:
    from server.store.contracts import Store

REAL = [pytest.param(name, marks=pytest.mark.redis) for name in ("redis62", "redis7")]


@pytest.fixture
def faulty() -> Faulty:
    return Faulty(cast("Store", MemoryStore()))


@pytest.fixture(scope="session")
def redis62() -> Iterator[Server]:
    with running(binary("redis62")) as server:
        yield server


@pytest.fixture(scope="session")
def redis7() -> Iterator[Server]:
    with running(binary("redis7")) as server:
        yield server


@pytest.fixture(scope="session")
def single() -> Iterator[Listening]:
    """One that is reached over TCP."""
    with listening(binary("redis7")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[Masters]:
    with masters(binary("redis7")) as cluster:
        yield cluster


@pytest.fixture(params=REAL)
def server(request: pytest.FixtureRequest) -> Server:
    """Each real redis-server in turn."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=REAL)
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that the test may break."""
    lasting = ("--appendonly", "yes", "--appendfsync", "always", "--key-load-delay", "300")
    with running(binary(request.param), *lasting) as server:
        yield server


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[RedisStore]:
    """Real Redis, empty."""
    async with emptied(server) as store:
        yield store


@pytest.fixture(params=["memory", *REAL, pytest.param("cluster", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[MemoryStore | RedisStore]:
    """Every backend, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    async with emptied(request.getfixturevalue(request.param)) as store:
        yield store


@asynccontextmanager
async def emptied(server: Server | Masters) -> AsyncIterator[RedisStore]:
    """A store on empty servers, in which afterwards no key may live for ever."""
    admins = [Client(url) for url in server.urls]
    for admin in admins:
        await admin.call("FLUSHALL")
    store = connect(server.url)
    yield store
    await store.close()
    for admin in admins:
        for key in await admin.call("KEYS", "*"):
            assert await admin.call("PTTL", key) > 0, f"{key.decode()} never expires"
        await admin.close()


@pytest.fixture(autouse=True)
async def no_tasks_left() -> AsyncIterator[None]:
    """After each test nothing runs on."""
    before = asyncio.all_tasks()
    yield
    await until(lambda: not (asyncio.all_tasks() - before - {asyncio.current_task()}), "all tasks ended")
