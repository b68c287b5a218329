"""What is left when the program ends, in every way it may."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.engine.real import require_vllm
from tests.waiting import wait_until
from tests.whole.client import Client, connected, numbers, said
from tests.whole.process import Program, alive, program, shared_memory

pytestmark = pytest.mark.redis
TWO_STARTS = 600  # seconds for a test that starts vLLM twice: each start may take half a minute, on a busy machine more


@pytest.mark.vllm
@pytest.mark.timeout(TWO_STARTS)
def test_kill_9_leaves_no_process_and_loses_no_answer() -> None:
    """One start, one kill in the middle of an answer, one start: the answer goes on, and the name is still known."""
    require_vllm()
    memory = shared_memory()
    with program() as server:
        server.start()
        page = server.wait("/")
        ready = server.wait("/readyz")
        print(f"page after {page:.1f} s, ready after {page + ready:.1f} s")
        told, running, shown = asyncio.run(_tell_and_begin(server))
        family = server.family()
        server.end(signal.SIGKILL)
        wait_until(lambda: not alive(family), f"all have ended: {alive(family)}")
        assert shared_memory() <= memory
        server.start()
        server.wait("/readyz")
        asyncio.run(_know_and_go_on(server, told, running, shown))


async def _tell_and_begin(server: Program) -> tuple[str, str, list[dict[str, object]]]:
    async with connected(server.ws) as client:
        await client.create("My name is Anna.", temperature=0)
        told: str = (await client.events())[-1]["response"]["id"]
        await client.create("Tell me a long story about a fox.", ignore_eos=True, max_output_tokens=1200)
        shown = [await client.event() for _ in range(60)]
    return told, shown[0]["response"]["id"], shown


async def _know_and_go_on(server: Program, told: str, running: str, shown: list[dict[str, object]]) -> None:
    async with connected(f"{server.ws}?resume={running}") as client:
        events = await client.events()
    assert [{**event, "response": None} for event in events[:60]] == [{**event, "response": None} for event in shown]
    assert numbers(events) == list(range(len(events)))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == said(events)
    assert events[-1]["response"]["usage"]["output_tokens"] == 1200
    async with connected(server.ws) as client:
        await client.create("What is my name?", previous_response_id=told, temperature=0)
        assert "Anna" in said(await client.events())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_end_is_quick_and_clean(scripted: Program, number: signal.Signals) -> None:
    family = scripted.family()
    began = time.monotonic()
    status = scripted.end(number)
    assert (status, time.monotonic() - began < 10) == (0, True)
    wait_until(lambda: not alive(family), f"all have ended: {alive(family)}")
    assert "Traceback" not in scripted.output()


def test_a_second_server_on_the_same_data_says_so(scripted: Program) -> None:
    with program("--engine", "scripted", "--data-dir", str(scripted.folder)) as second:
        second.start()
        assert second.process is not None
        assert second.process.wait(90) == 1
        assert "DATA_DIR" in second.output()


def test_a_port_in_use_is_named(scripted: Program) -> None:
    with program("--engine", "scripted", "--port", str(scripted.port)) as second:
        second.start()
        assert second.process is not None
        assert second.process.wait(90) == 2
        assert "PORT" in second.output()


@pytest.mark.vllm
def test_a_wrong_option_of_vllm_stops_the_start_and_is_named() -> None:
    require_vllm()
    with program("--", "--no-such-option", "1") as server:
        server.start()
        assert server.process is not None
        assert server.process.wait(90) == 1
        assert "--no-such-option" in server.output()


def test_a_redis_that_is_not_there_is_named() -> None:
    with program("--engine", "scripted", "--redis-url", "redis://127.0.0.1:1") as server:
        server.start()
        assert server.process is not None
        assert server.process.wait(90) == 1
        assert "127.0.0.1:1" in server.output()
        assert "Traceback" not in server.output()


@pytest.mark.vllm
@pytest.mark.timeout(TWO_STARTS)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_dies_or_freezes_ends_the_node_and_no_answer(how: signal.Signals) -> None:
    """The node is not ready within a second of knowing, and ends with an error; the next start goes on."""
    require_vllm()
    with program() as server:
        server.start()
        server.wait("/readyz")
        engine = _engine(server)
        assert server.process is not None
        began = time.monotonic()
        id, shown = asyncio.run(_begin_and_lose(server, engine, how))
        status = server.process.wait(120)
        print(f"{how.name}: ended with {status} after {time.monotonic() - began:.1f} s")
        assert status == 1
        server.start()
        server.wait("/readyz")
        asyncio.run(_go_on(server, id, shown))


def _engine(server: Program) -> int:
    """The process in which vLLM computes."""
    (pid,) = (pid for pid in server.family() if Path(f"/proc/{pid}/comm").read_text().startswith("VLLM::EngineCor"))
    return pid


async def _begin_and_lose(server: Program, engine: int, how: signal.Signals) -> tuple[str, list[dict[str, object]]]:
    async with connected(server.ws) as client:
        await client.create("Tell me a long story about a fox.", ignore_eos=True, max_output_tokens=1500)
        shown = [await client.event() for _ in range(60)]
        os.kill(engine, how)
        with pytest.raises(ConnectionClosed) as closed:
            await _collect(client, shown)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert not [event for event in shown if str(event["type"]).endswith("failed")]
    return str(_response(shown[0])["id"]), shown


async def _collect(client: Client, shown: list[dict[str, object]]) -> None:
    while True:
        shown.append(await client.event())


async def _go_on(server: Program, id: str, shown: list[dict[str, object]]) -> None:
    async with connected(f"{server.ws}?resume={id}&starting_after={len(shown) - 1}") as client:
        events = [*shown, *await client.events()]
    assert numbers(events) == list(range(len(events)))
    assert _response(events[-1])["output"][0]["content"][0]["text"] == said(events)


def _response(event: dict[str, object]) -> Any:
    return event["response"]
