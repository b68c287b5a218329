"""Two whole nodes on one Redis, one of which dies in every way a process can."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from tests.redis_server import binary, running
from tests.waiting import wait_until
from tests.whole.balancer import balanced
from tests.whole.beats import Beats
from tests.whole.client import connected, numbers, said
from tests.whole.process import Program, program

pytestmark = pytest.mark.redis
ASK = "Go on. [tokens=200]"
SEEN = 10  # events before a change
RATES = 15, 200  # tokens per second of the first node and of the other: no turn ends before what is done to the first
DRAIN = 120  # seconds


@pytest.fixture
def pair() -> Iterator[list[Program]]:
    """The first one is where the load balancer sends everybody."""
    with ExitStack() as stack:
        redis = stack.enter_context(running(binary("redis7")))
        flags = ("--engine", "scripted", "--redis-url", redis.url, "--drain-seconds", str(DRAIN))
        nodes = [stack.enter_context(program(*flags, "--scripted-rate", str(rate))) for rate in RATES]
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait("/readyz")
        yield nodes


async def through(pair: list[Program], change: Callable[[], object]) -> tuple[list[dict[str, Any]], float]:
    """A turn that begins on the first node, is changed in its middle, and is resumed wherever the balancer leads.

    All its events, and the longest wait for one of them in seconds, by the nodes' heartbeats.
    """
    events: list[dict[str, Any]] = []
    longest = 0.0
    async with balanced(pair) as balancer, connected(balancer.ws) as client:
        await client.create(ASK)
        events += [await client.event() for _ in range(SEEN)]
        beats = Beats(pair[0].flags[pair[0].flags.index("--redis-url") + 1])
        await asyncio.to_thread(change)
        last = beats.seconds()
        async for event in _rest(balancer.ws, client, events):
            now = beats.seconds()
            longest, last = max(longest, now - last), now
            events.append(event)
        beats.close()
    return events, longest


async def _rest(ws: str, client: Any, events: list[dict[str, Any]]) -> Any:
    """What follows, first on this socket, then on new ones."""
    id = events[0]["response"]["id"]
    ends = {"response.completed", "response.failed", "response.incomplete", "error"}
    while events[-1]["type"] not in ends:
        try:
            yield await client.event()
        except Exception:  # whatever a cut connection raises
            async with asyncio.timeout(60):
                client = await _again(ws, id, events[-1]["sequence_number"])


async def _again(ws: str, id: str, after: int) -> Any:
    while True:
        try:
            return await connected(f"{ws}?resume={id}&starting_after={after}").__aenter__()
        except Exception:  # the balancer has noticed nothing yet
            await asyncio.sleep(0.05)


async def reference(pair: list[Program]) -> str:
    async with connected(pair[1].ws) as client:
        await client.create(ASK)
        return said(await client.events())


def check(events: list[dict[str, Any]], text: str) -> None:
    assert events[-1]["type"] == "response.completed"
    assert numbers(events) == list(range(len(events)))
    assert said(events) == events[-1]["response"]["output"][0]["content"][0]["text"] == text


async def test_kill_9_of_the_node_that_writes(pair: list[Program]) -> None:
    text = await reference(pair)
    events, longest = await through(pair, lambda: pair[0].end(signal.SIGKILL))
    check(events, text)
    print(f"longest wait {longest:.2f} s")
    assert longest < 4


async def test_a_node_that_is_told_to_end_hands_over(pair: list[Program]) -> None:
    text = await reference(pair)
    statuses: list[int] = []
    events, longest = await through(pair, lambda: statuses.append(pair[0].end(signal.SIGTERM)))
    check(events, text)
    print(f"longest wait {longest:.2f} s")
    assert statuses == [0]
    assert "Traceback" not in pair[0].output()


async def test_a_frozen_node_is_fenced_when_it_thaws(pair: list[Program]) -> None:
    """SIGSTOP: its socket stays open and silent, another node writes on, and what it wakes to write is refused."""
    text = await reference(pair)
    async with connected(pair[0].ws) as client:
        await client.create(ASK)
        events = [await client.event() for _ in range(SEEN)]
        pair[0].signal(signal.SIGSTOP)
        query = f"?resume={events[0]['response']['id']}&starting_after={events[-1]['sequence_number']}"
        async with connected(pair[1].ws + query) as other:
            check([*events, *await other.events()], text)
        pair[0].signal(signal.SIGCONT)
        check([*events, *await client.events()], text)
    wait_until(lambda: "turn_lost_to_another_writer" in pair[0].output(), "the zombie noticed")


async def test_a_second_signal_ends_at_once(pair: list[Program]) -> None:
    pair[1].end(signal.SIGTERM)
    async with connected(pair[0].ws) as client:
        await client.create("[tokens=5000]")
        await client.event()
        pair[0].signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: "draining" in pair[0].output(), "it drains")
        began = time.monotonic()
        assert await asyncio.to_thread(pair[0].end, signal.SIGTERM) == 0
        assert time.monotonic() - began < DRAIN / 2


RECIPE: Any = {"type": "response.create", "model": "scripted", "input": ASK}


@pytest.mark.sdk
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_the_official_client_goes_on_through_a_node_s_end(pair: list[Program], end: signal.Signals) -> None:
    text = await reference(pair)
    async with balanced(pair) as balancer:
        for ask in (sync_client, async_client):
            seen = await ask(balancer.http, lambda: asyncio.to_thread(pair[0].end, end))
            assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == text
            assert [event.sequence_number for event in seen] == list(range(len(seen)))
            pair[0].start()
            await asyncio.to_thread(pair[0].wait, "/readyz")


Change = Callable[[], Awaitable[int]]


async def async_client(base: str, change: Change) -> list[Any]:
    """As the documentation has it."""
    seen: list[Any] = []

    def again(_: object) -> Any:
        place = {"resume": seen[0].response.id, "starting_after": seen[-1].sequence_number}
        return {"extra_query": place}

    async with (
        AsyncOpenAI(base_url=base, api_key="none") as client,
        client.responses.connect(on_reconnecting=again) as connection,
    ):
        await connection.send(RECIPE)
        async for event in connection:
            if not event.type.startswith("throughline:"):
                seen.append(event)
            if len(seen) == SEEN:
                await change()
            if event.type == "response.completed":
                return seen
    raise AssertionError("the connection ended first")


async def sync_client(base: str, change: Change) -> list[Any]:
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(_sync, base, lambda: asyncio.run_coroutine_threadsafe(_awaited(change), loop))


async def _awaited(change: Change) -> int:
    return await change()


def _sync(base: str, change: Callable[[], Any]) -> list[Any]:
    seen: list[Any] = []

    def again(_: object) -> Any:
        place = {"resume": seen[0].response.id, "starting_after": seen[-1].sequence_number}
        return {"extra_query": place}

    with (
        OpenAI(base_url=base, api_key="none") as client,
        client.responses.connect(on_reconnecting=again) as connection,
    ):
        connection.send(RECIPE)
        for event in connection:
            if not event.type.startswith("throughline:"):
                seen.append(event)
            if len(seen) == SEEN:
                change()
            if event.type == "response.completed":
                return seen
    raise AssertionError("the connection ended first")
