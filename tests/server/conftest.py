"""Nodes on a real Redis that leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from engine.base import Engine
from engine.scripted import ScriptedEngine
from server.protocol import entry as protocol_entry
from server.store.redis.client import Client
from tests.redis_server import Server, binary, running
from tests.serving import Served, serving, settings_for
from tests.waiting import until

Nodes = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    with running(binary("redis62")) as server:
        yield server


@pytest.fixture
def unmerged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token is an event, so that logs are as long as they can be."""
    monkeypatch.setattr(protocol_entry, "LONGEST", 1)


@pytest.fixture
async def empty(redis_server: Server) -> AsyncIterator[str]:
    """The address of a Redis with nothing in it, in which afterwards no key may live for ever."""
    admin = Client(redis_server.url)
    await admin.call("FLUSHALL")
    yield redis_server.url
    for key in await admin.call("KEYS", "*"):
        assert await admin.call("PTTL", key) != -1, f"{key.decode()} never expires"
    await admin.close()


@pytest.fixture
async def nodes(empty: str) -> AsyncIterator[Nodes]:
    """Makes nodes; when one ends, it must have ended all its work, and when the test ends no task is left."""
    before = asyncio.all_tasks()

    @asynccontextmanager
    async def node(engine: Engine | None = None, *, load: bool = True, **settings: Any) -> AsyncIterator[Served]:
        async with serving(settings_for(empty, **settings), engine, load=load) as served:
            yield served
            await settled(served)

    yield node
    await until(lambda: not (asyncio.all_tasks() - before - {asyncio.current_task()}), "all tasks ended")


async def settled(served: Served) -> None:
    """Nothing runs, waits or watches; every slot is free."""
    node, engine = served.node, served.engine
    scheduler = node.scheduler
    assert isinstance(engine, ScriptedEngine)
    for turn in list(node.scheduler.running):
        await served.running.service.cancel(turn)
    await served.running.sockets.close(1000, "the test is over")
    await until(lambda: not engine.running, "no generation runs")
    await until(
        lambda: scheduler.is_idle and not scheduler.queue and not scheduler.taken_slots,
        "every slot is free",
    )
    await until(lambda: not served.running.sockets.sockets, "every socket is gone")
    await until(lambda: not node.presence.watched_turns(), "nobody watches")


@pytest.fixture
async def served(nodes: Nodes) -> AsyncIterator[Served]:
    """A node with the scripted engine, as fast as it goes."""
    async with nodes() as served:
        yield served


@pytest.fixture
def slow() -> ScriptedEngine:
    """Five hundred tokens per second: there is time to do things in the middle of an answer."""
    return ScriptedEngine(rate=500)
