"""One clock for all answers: when steps are taken, and who is woken."""

import asyncio
import math

import pytest

from engine.scripted.clock import TICK, StepClock

EARLY = 0.001  # seconds by which the event loop's timer may be


class Steps:
    """So many steps, one every so many seconds."""

    def __init__(self, clock: StepClock, every: float, count: int) -> None:
        self.clock = clock
        self.every = every
        self.left = count
        self.due = 0.0
        self.seen: list[tuple[float, float]] = []  # when each was due, and taken

    def __call__(self, now: float) -> float | None:
        self.seen.append((self.due, now))
        self.left -= 1
        self.due += self.every
        return self.due if self.left else None

    async def run(self, due: float) -> None:
        self.due = due
        await self.clock.run(due, self)


async def test_steps_are_taken_when_they_are_due() -> None:
    clock = StepClock()
    steps = Steps(clock, 0.02, 5)
    await steps.run(clock.now() + 0.01)
    assert len(steps.seen) == 5
    assert all(now >= due - EARLY for due, now in steps.seen)


async def test_answers_of_one_tick_are_served_in_one_step() -> None:
    """They began at other times, and keep their own phases: the grid is the only thing they share."""
    clock = StepClock()
    edge = math.ceil((clock.now() + 0.02) / TICK) * TICK
    together, apart = [Steps(clock, 1, 1) for _ in range(3)], Steps(clock, 1, 1)
    starts = [edge - TICK / 2, edge - TICK / 4, edge - TICK / 8]
    runs = [steps.run(due) for steps, due in zip(together, starts, strict=True)]
    await asyncio.gather(*runs, apart.run(edge + 5 * TICK))
    assert len({now for steps in together for _, now in steps.seen}) == 1
    assert apart.seen[0][1] > together[0].seen[0][1]


async def test_an_error_of_one_step_is_its_own() -> None:
    clock = StepClock()
    due = clock.now() + 0.01
    other = Steps(clock, 0.001, 3)

    def broken(now: float) -> float | None:
        raise KeyError("a bug")

    failed, fine = await asyncio.gather(clock.run(due, broken), other.run(due), return_exceptions=True)
    assert isinstance(failed, KeyError)
    assert fine is None
    assert len(other.seen) == 3


async def test_what_is_late_lets_others_run_first() -> None:
    clock = StepClock()
    order: list[str] = []

    def late(now: float) -> float | None:
        order.append("step")
        return None if order.count("step") == 2 else now - 1

    waiting = asyncio.create_task(clock.run(clock.now() - 1, late))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(order.append, "other")
    await waiting
    assert order == ["step", "other", "step"]


async def test_waking_all_ends_every_wait() -> None:
    clock = StepClock()
    steps = Steps(clock, 1, 1)
    waits = [asyncio.create_task(clock.run(math.inf, steps)), asyncio.create_task(steps.run(clock.now() + 60))]
    await asyncio.sleep(0)
    clock.wake_all()
    await asyncio.gather(*waits)
    assert steps.seen == []


async def test_a_step_may_wake_all() -> None:
    """As one does that kills the engine."""
    clock = StepClock()

    def killing(now: float) -> float | None:
        clock.wake_all()
        return None

    await asyncio.gather(clock.run(clock.now() + 0.01, killing), clock.run(math.inf, killing))


async def test_a_cancelled_wait_takes_no_step() -> None:
    clock = StepClock()
    due = clock.now() + 0.01
    gone, other = Steps(clock, 1, 1), Steps(clock, 0.01, 2)
    waiting = asyncio.create_task(gone.run(due))
    await asyncio.sleep(0)
    waiting.cancel()
    await other.run(due)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gone.seen == []
    assert len(other.seen) == 2
