"""A node's own Redis is killed by itself, or what it reads makes no sense."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.whole.client import connected, numbers, said
from tests.whole.process import Program, program

pytestmark = pytest.mark.redis


def redis_of(server: Program) -> int:
    found = [pid for pid in server.family() if Path(f"/proc/{pid}/comm").read_text().startswith("redis-server")]
    return found[0] if found else 0


def test_an_answer_goes_on_when_the_nodes_own_redis_is_killed() -> None:
    with program("--engine", "scripted", "--scripted-rate", "60") as server:
        server.start()
        server.wait("/readyz")
        before = redis_of(server)
        asyncio.run(_ask_and_kill(server, before))
        assert redis_of(server) not in {0, before}
        server.wait("/readyz")
        assert server.end(signal.SIGTERM) == 0


async def _ask_and_kill(server: Program, redis: int) -> None:
    async with connected(server.ws) as client:
        await client.create("[tokens=300]")
        shown = [await client.event() for _ in range(40)]
        os.kill(redis, signal.SIGKILL)
        events = [*shown, *await client.events()]
    events = [event for event in events if str(event["type"]).startswith("response.")]
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == said(events)


def test_a_node_ends_with_a_status_when_its_own_redis_cannot_be_started_again() -> None:
    with program("--engine", "scripted") as server:
        server.start()
        server.wait("/readyz")
        for path in [*server.folder.glob("appendonly.aof"), *server.folder.glob("appendonlydir/*.manifest")]:
            path.write_text("nonsense")
        os.kill(redis_of(server), signal.SIGKILL)
        assert server.process is not None
        assert server.process.wait(60) == 1
        assert "redis_failed" in server.output()
