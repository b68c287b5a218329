"""How a stopping node parts from its sockets."""

import asyncio
from contextlib import AsyncExitStack
from unittest.mock import patch

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from engine.scripted import ScriptedEngine
from server.web import websocket
from tests.server.conftest import Nodes
from tests.server.peer import Peer, bearer, client, socket
from tests.serving import Served
from tests.waiting import until

SOCKETS = 40
SPREAD = 0.8


async def goodbyes(served: Served, spread: float) -> list[tuple[int, float]]:
    """Which sockets were closed, counted as they were opened, in the order of their ends, and when, in seconds."""
    ends: list[tuple[int, float]] = []
    now = asyncio.get_running_loop().time

    async def ended(number: int, peer: Peer) -> None:
        assert await peer.closed() == 1012
        ends.append((number, now() - began))

    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(socket(served)) for _ in range(SOCKETS)]
        began = now()
        waiting = asyncio.gather(*(ended(*each) for each in enumerate(peers)))
        await served.running.sockets.close(1012, "this node is stopping", spread=spread)
        await waiting
    return ends


async def test_sockets_are_closed_evenly_and_in_random_order(served: Served) -> None:
    """No socket before its time: a slow machine is late, never early."""
    ends = await goodbyes(served, SPREAD)
    assert all(when >= place * SPREAD / SOCKETS - 0.01 for place, (_, when) in enumerate(ends))
    order = [number for number, _ in ends]
    assert order != sorted(order)
    assert sorted(order) == list(range(SOCKETS))


async def test_without_a_spread_all_are_closed_at_once(served: Served) -> None:
    with patch.object(websocket, "_after", wraps=websocket._after) as after:
        assert len(await goodbyes(served, 0.0)) == SOCKETS
    assert [call.args[0] for call in after.call_args_list] == [0.0] * SOCKETS  # seconds


async def test_closing_may_be_cut_short(served: Served) -> None:
    """A second signal: what was not closed yet is left to the web server."""
    async with socket(served), socket(served):
        closing = asyncio.create_task(served.running.sockets.close(1012, "this node is stopping", spread=100.0))
        await until(lambda: len(served.running.sockets.sockets) == 1, "the first one is closed")
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert len(served.running.sockets.sockets) == 1


async def test_a_draining_node_lets_nobody_else_in_and_shows_what_runs(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=100)) as served, socket(served) as peer:
        await peer.ask("[tokens=60]")
        await peer.until("response.output_text.delta")
        draining = asyncio.create_task(served.running.drain(20.0))
        await until(lambda: served.running.sockets.is_draining, "it drains")
        with pytest.raises(InvalidStatus) as caught:
            await connect(served.ws)
        response = caught.value.response
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert orjson.loads(response.body or b"")["error"]["code"] == "server_overloaded"
        assert (await peer.turn())[-1]["type"] == "response.completed"
        await draining
        assert await peer.closed() == 1012


async def test_a_draining_node_uses_up_no_ticket(nodes: Nodes) -> None:
    """The client tries the same one at the next node."""
    async with nodes(api_keys="alice:a") as a, nodes(api_keys="alice:a") as b:
        async with client(a, headers=bearer("a")) as http:
            ticket = (await http.post("tickets")).json()["ticket"]
        await a.running.drain(0.0)
        with pytest.raises(InvalidStatus):
            await connect(f"{a.ws}?ticket={ticket}")
        async with socket(b, f"?ticket={ticket}") as peer:
            assert (await peer.answer("[tokens=1]"))["status"] == "completed"


async def test_draining_spreads_by_the_number_of_sockets_and_within_the_grace_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads: list[float] = []

    async def close(code: int, reason: str, *, spread: float = 0.0) -> None:
        assert code == 1012
        spreads.append(spread)

    endpoint = served.running.sockets
    async with socket(served), socket(served):
        with monkeypatch.context() as patch:
            patch.setattr(endpoint, "close", close)
            for grace in (30.0, 0.003, 0.0):
                await served.running.drain(grace)
    assert spreads == [2 / 500, 0.001, 0.0]
