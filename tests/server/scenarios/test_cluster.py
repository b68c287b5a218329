"""Whole nodes on a Redis Cluster."""

import asyncio
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from tests.redis_cluster import masters
from tests.redis_server import binary
from tests.server.conftest import settled
from tests.server.peer import bearer, final, numbered, numbers, said, socket, text_of
from tests.serving import Served, serving, settings_for

pytestmark = pytest.mark.redis
CALLERS = ",".join(f"caller {n}:key-{n}" for n in range(12))


async def test_turns_of_many_callers_run_and_are_resumed_at_another_node() -> None:
    with masters(binary("redis7")) as cluster:
        settings = settings_for(cluster.url, api_keys=CALLERS)
        async with (
            serving(settings, ScriptedEngine(rate=300)) as one,
            serving(settings, ScriptedEngine(rate=300)) as other,
        ):
            async with asyncio.TaskGroup() as group:
                for n in range(12):
                    group.create_task(asked(one, other, f"key-{n}"))
            assert all(server.admin.dbsize() > 0 for server in cluster.servers)
            for served in (one, other):
                await settled(served)


async def asked(one: Served, other: Served, key: str) -> None:
    """Ask here; lose the socket in the middle; see the rest there."""
    login: dict[str, Any] = {"additional_headers": bearer(key)}
    async with socket(one, **login) as peer:
        await peer.ask("[tokens=100]")
        seen = await peer.until("response.output_text.delta")
    id, cut = seen[0]["response"]["id"], numbers(seen)[-1]
    async with socket(other, f"?resume={id}&starting_after={cut}", **login) as peer:
        assert (await peer.next())["type"] == "throughline:resumed"
        seen += await peer.turn()
    assert numbers(seen) == list(range(len(numbered(seen))))
    assert said(seen) == text_of(final(seen))
