"""What gathers in vLLM until it is wanted."""

import asyncio
import random
from functools import partial

from engine.vllm.gather import Gathering


async def test_each_callback_runs_once_and_not_before_its_deadline() -> None:
    loop = asyncio.get_running_loop()
    gathering = Gathering()
    called: list[tuple[int, float]] = []
    done = asyncio.Event()

    def call(number: int) -> None:
        called.append((number, loop.time()))
        if len(called) == 40:
            done.set()

    due = [loop.time() + random.Random(number).random() / 20 for number in range(40)]
    for number, at in enumerate(due):
        gathering.until(at, partial(call, number))
    async with asyncio.timeout(5):
        await done.wait()
    assert sorted(number for number, _ in called) == list(range(40))
    assert all(at >= due[number] for number, at in called)


async def test_a_callback_may_schedule_the_next_one() -> None:
    gathering = Gathering()
    called: list[str] = []
    done = asyncio.Event()

    def again() -> None:
        called.append("again")
        if len(called) == 3:
            done.set()
        else:
            gathering.until(asyncio.get_running_loop().time(), again)

    gathering.until(0.0, again)
    async with asyncio.timeout(5):
        await done.wait()
    assert called == ["again"] * 3


async def test_an_earlier_deadline_is_not_delayed_by_an_older_request() -> None:
    gathering = Gathering()
    loop = asyncio.get_running_loop()
    called: list[str] = []
    done = asyncio.Event()
    gathering.until(loop.time() + 3600, partial(called.append, "late"))
    gathering.until(loop.time() + 0.01, done.set)
    async with asyncio.timeout(5):
        await done.wait()
    assert called == []


async def test_a_cancelled_request_is_not_called() -> None:
    gathering = Gathering()
    called: list[str] = []
    done = asyncio.Event()

    def forgotten() -> None:
        called.append("forgotten")

    gathering.until(0.0, forgotten)
    gathering.until(asyncio.get_running_loop().time() + 0.01, done.set)
    gathering.forget(forgotten)
    gathering.forget(forgotten)
    async with asyncio.timeout(5):
        await done.wait()
    assert called == []
