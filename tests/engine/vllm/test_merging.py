"""One timer for all generations that hold tokens."""

import asyncio
import random
from functools import partial

from engine.vllm.merging import MergeTimer


async def test_each_is_called_once_and_not_early() -> None:
    loop = asyncio.get_running_loop()
    timer = MergeTimer()
    called: list[tuple[int, float]] = []
    done = asyncio.Event()

    def call(number: int) -> None:
        called.append((number, loop.time()))
        if len(called) == 40:
            done.set()

    due = [loop.time() + random.Random(number).random() / 20 for number in range(40)]
    for number, at in enumerate(due):
        timer.call_at(at, partial(call, number))
    async with asyncio.timeout(60):
        await done.wait()
    assert sorted(number for number, _ in called) == list(range(40))
    assert all(at >= due[number] for number, at in called)


async def test_a_callback_may_schedule_itself_again() -> None:
    timer = MergeTimer()
    called: list[str] = []
    done = asyncio.Event()

    def again() -> None:
        called.append("again")
        if len(called) == 3:
            done.set()
        else:
            timer.call_at(asyncio.get_running_loop().time(), again)

    timer.call_at(0.0, again)
    async with asyncio.timeout(60):
        await done.wait()
    assert called == ["again"] * 3


async def test_an_earlier_time_does_not_wait_for_one_scheduled_before() -> None:
    timer = MergeTimer()
    loop = asyncio.get_running_loop()
    called: list[str] = []
    done = asyncio.Event()
    timer.call_at(loop.time() + 3600, partial(called.append, "late"))
    timer.call_at(loop.time() + 0.01, done.set)
    async with asyncio.timeout(60):
        await done.wait()
    assert called == []


async def test_a_cancelled_callback_is_not_called() -> None:
    timer = MergeTimer()
    called: list[str] = []
    done = asyncio.Event()

    def cancelled() -> None:
        called.append("cancelled")

    timer.call_at(0.0, cancelled)
    timer.call_at(asyncio.get_running_loop().time() + 0.01, done.set)
    timer.cancel(cancelled)
    timer.cancel(cancelled)
    async with asyncio.timeout(60):
        await done.wait()
    assert called == []
