"""When an engine counts as frozen: never for what our own event loop was late by."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.base import EngineDead
from engine.vllm import watchdog
from engine.vllm.watchdog import Watchdog

PATIENCE = 8.0


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", clock)
    return clock


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Alive, and without anything to do."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def checked(dog: Watchdog, clock: Clock, seconds: float, step: float) -> None:
    for _ in range(round(seconds / step)):
        clock.now += step
        dog.check()
        await asyncio.sleep(0)


async def test_an_engine_that_answers_nothing_is_killed(clock: Clock, process: subprocess.Popen[bytes]) -> None:
    dog = Watchdog(never, [process.pid], patience=PATIENCE, busy=False)
    await checked(dog, clock, 8.0, 0.5)
    with pytest.raises(EngineDead):
        await checked(dog, clock, 2.0, 0.5)
    assert process.wait(10) != 0
    dog.close()


async def test_a_node_that_stood_still_does_not_blame_the_engine(
    clock: Clock, process: subprocess.Popen[bytes]
) -> None:
    """The answer lay there all the time, and nobody read it."""
    answer = asyncio.get_running_loop().create_future()

    async def probe() -> None:
        await answer

    dog = Watchdog(probe, [process.pid], patience=PATIENCE, busy=False)
    await checked(dog, clock, 1.0, 0.5)
    clock.now += 14.0
    dog.check()
    clock.now += 14.0
    dog.check()
    answer.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await checked(dog, clock, 4.0, 0.5)
    assert process.poll() is None
    dog.close()


async def test_one_that_is_frozen_is_found_after_the_node_stood_still_too(
    clock: Clock, process: subprocess.Popen[bytes]
) -> None:
    dog = Watchdog(never, [process.pid], patience=PATIENCE, busy=False)
    dog.check()
    clock.now += 30.0
    dog.check()
    with pytest.raises(EngineDead):
        await checked(dog, clock, 7.0, 0.5)
    dog.close()
