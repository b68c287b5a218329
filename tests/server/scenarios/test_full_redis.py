"""Redis has no memory left: new turns are refused, those that run pause, and go on when there is some."""

from collections.abc import Iterator

import pytest

from engine.scripted import ScriptedEngine
from server.store.redis.client import Client
from tests.redis_server import Server, binary, running
from tests.server.conftest import settled
from tests.server.peer import client, final, numbered, numbers, said, socket, text_of
from tests.serving import serving, settings_for
from tests.waiting import until

pytestmark = pytest.mark.redis


@pytest.fixture
def own_redis() -> Iterator[Server]:
    with running(binary("redis7")) as server:
        yield server


async def test_new_turns_are_refused_and_running_ones_go_on_later(own_redis: Server) -> None:
    admin, engine = Client(own_redis.url), ScriptedEngine(rate=20)
    async with (
        serving(settings_for(own_redis.url), engine) as served,
        socket(served) as peer,
        socket(served) as late,
        client(served) as http,
    ):
        await peer.ask("[tokens=400]")
        seen = await peer.until("response.output_text.delta")
        await admin.call("CONFIG", "SET", "maxmemory", 1)
        await until(lambda: served.node.journal.stalled, "the log refuses")
        await late.ask("[tokens=3]")
        error = await late.error()
        assert (error["status"], error["code"]) == (503, "server_overloaded")
        answer = await http.post("responses", json={"input": "[tokens=3]"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_overloaded")
        await admin.call("CONFIG", "SET", "maxmemory", 0)
        engine.rate = 300
        seen += await peer.turn()
        assert numbers(seen) == list(range(len(numbered(seen))))
        assert said(seen) == text_of(final(seen))
        assert (await late.answer("[tokens=3]"))["status"] == "completed"
        await settled(served)
    await admin.close()


async def test_a_cancel_that_takes_effect_is_no_error(own_redis: Server) -> None:
    """The node that runs the turn stops it, whether the store takes the flag or not."""
    admin = Client(own_redis.url)
    async with (
        serving(settings_for(own_redis.url), ScriptedEngine(rate=60)) as served,
        socket(served) as peer,
        socket(served) as other,
    ):
        await peer.ask("[tokens=4000]")
        seen = await peer.until("response.output_text.delta")
        id = seen[0]["response"]["id"]
        await admin.call("CONFIG", "SET", "maxmemory", 1)
        await until(lambda: served.node.journal.stalled, "the log refuses")
        await other.send("throughline:cancel", response_id=id)
        assert (await other.next())["type"] == "throughline:cancelled"
        await admin.call("CONFIG", "SET", "maxmemory", 0)
        assert final(await peer.turn())["status"] == "cancelled"
        await settled(served)
    await admin.close()
