"""The probe finds what holds a loop up, and says nothing of what does not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from bench.hostile.probe import BEAT, LoopProbe, Reading, Reporter, ask

LONG = 0.08  # seconds


def burn(seconds: float = LONG) -> None:
    """Use the processor, as parsing does."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


class Reader(asyncio.Protocol):
    """Takes long over what it is sent."""

    def data_received(self, data: bytes) -> None:
        burn()


def probed(work: Callable[[], Awaitable[None]], path: Path) -> Reading:
    """What a reporter says after a loop did this."""

    class Loop(uvloop.Loop):
        pass

    probe = LoopProbe()
    probe.attach(Loop)
    Reporter(probe, path).start()

    async def run() -> Reading:
        await asyncio.sleep(5 * BEAT)
        await asyncio.to_thread(ask, path, "reset")
        await work()
        await asyncio.sleep(5 * BEAT)
        return await asyncio.to_thread(ask, path, "read")

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(run())


async def test_burning_is_what_it_says() -> None:
    before = time.thread_time()
    burn()
    assert time.thread_time() - before >= LONG


def test_a_long_step_of_a_task_is_found_with_its_place(tmp_path: Path) -> None:
    async def step() -> None:
        await asyncio.sleep(0)
        burn()

    reading = probed(step, tmp_path / "probe")
    assert LONG <= reading.callback < 2 * LONG
    assert reading.turn >= reading.callback
    assert any("burn" in where for where in reading.stacks)


def test_a_long_timer_is_found(tmp_path: Path) -> None:
    async def timer() -> None:
        asyncio.get_running_loop().call_later(0.01, burn)
        await asyncio.sleep(0.02)

    assert probed(timer, tmp_path / "probe").callback >= LONG


def test_a_long_callback_of_the_transport_is_found(tmp_path: Path) -> None:
    async def read() -> None:
        server = await asyncio.get_running_loop().create_server(Reader, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"a")
        await asyncio.sleep(2 * LONG)
        writer.close()
        server.close()

    assert probed(read, tmp_path / "probe").callback >= LONG


def test_waiting_and_sleeping_cost_nothing(tmp_path: Path) -> None:
    """Neither idle time nor a callback that sleeps is the loop's work: that is the CPU clock's point."""

    async def sleep() -> None:
        await asyncio.sleep(LONG)
        time.sleep(LONG)  # noqa: ASYNC251 - meant to stand still

    assert probed(sleep, tmp_path / "probe").callback < LONG / 2


def test_work_of_other_threads_is_not_the_loops(tmp_path: Path) -> None:
    async def beside() -> None:
        await asyncio.to_thread(burn)

    assert probed(beside, tmp_path / "probe").callback < LONG / 2


def test_many_short_steps_are_not_one_long_callback(tmp_path: Path) -> None:
    async def one() -> None:
        burn(0.004)

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    reading = probed(many, tmp_path / "probe")
    assert reading.callback < LONG / 2
    assert reading.turn >= LONG / 2


def test_nobody_answers_where_there_is_no_reporter(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        ask(tmp_path / "none", "read")
