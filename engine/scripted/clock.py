"""When tokens are due: one clock for all generations, as an engine's loop is one for all sequences."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable

TICK = 0.004  # seconds; generations that are due within one share a timer, so that a thousand cost few
LATE = -math.inf  # the tick of what is overdue: the event loop's next iteration

# Called with the loop time `now`: does what is due, returns when more is, or None to let the waiting task go on.
Step = Callable[[float], float | None]


class StepClock:
    """Calls steps at points in time on one grid. A step wakes no task unless it returns None."""

    def __init__(self) -> None:
        self._steps: dict[asyncio.Future[None], Step] = {}  # of all tasks that wait
        self._ticks: defaultdict[float, list[asyncio.Future[None]]] = defaultdict(list)

    def now(self) -> float:
        """The event loop's time, in seconds."""
        return asyncio.get_running_loop().time()

    async def run(self, due: float, step: Step) -> None:
        """Call `step` at `due`, then whenever it last returned; return when that was None, or when all are woken.

        Raises what a step raises. Other tasks run before the first call. Cancelling it leaves nothing behind but an
        entry in one tick.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._steps[waiter] = step
        self._schedule(due, waiter, self.now())
        try:
            await waiter
        finally:
            del self._steps[waiter]

    def wake_all(self) -> None:
        """Return from every `run` now."""
        for waiter in self._steps:
            if not waiter.done():
                waiter.set_result(None)

    def _schedule(self, due: float, waiter: asyncio.Future[None], now: float) -> None:
        if due == math.inf:
            return
        tick = LATE if due <= now else math.ceil(due / TICK)
        if tick not in self._ticks:
            loop = asyncio.get_running_loop()
            if tick == LATE:
                loop.call_soon(self._tick, tick)
            else:
                loop.call_at(tick * TICK, self._tick, tick)
        self._ticks[tick].append(waiter)

    def _tick(self, tick: float) -> None:
        now = self.now()
        for waiter in self._ticks.pop(tick):
            step = self._steps.get(waiter)
            if step is not None and not waiter.done():
                self._call(step, waiter, now)

    def _call(self, step: Step, waiter: asyncio.Future[None], now: float) -> None:
        try:
            due = step(now)
        except Exception as error:  # it concerns that generation alone, and there are others in this tick
            waiter.set_exception(error)
            return
        if due is not None:
            self._schedule(due, waiter, now)
        elif not waiter.done():  # the step itself may have woken all
            waiter.set_result(None)
