"""When tokens are due: one clock for all answers, as an engine's loop is one for all sequences."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable

TICK = 0.004  # seconds; answers that are due within one are served in one step, so that a thousand cost few timers
SOON = -math.inf  # the tick of what is late: the event loop's next turn

# Called in the clock's time `now`, says what is due then; when more is, or None where whoever waits has to go on.
Step = Callable[[float], float | None]


class Pace:
    """Takes steps at points in time on one grid. A step wakes nobody unless it says so."""

    def __init__(self) -> None:
        self._steps: dict[asyncio.Future[None], Step] = {}  # of everybody who waits
        self._ticks: defaultdict[float, list[asyncio.Future[None]]] = defaultdict(list)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def run(self, due: float, step: Step) -> None:
        """Call `step` at `due`, then when it last said; return when that was None, or when all are woken.

        Raises what a step raises. Others get a turn before the first call. Cancelling it leaves nothing behind but a
        place in one tick.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._steps[waiter] = step
        self._plan(due, waiter, self.now())
        try:
            await waiter
        finally:
            del self._steps[waiter]

    def wake_all(self) -> None:
        """Nothing is due any more: whoever waits has to go on."""
        for waiter in self._steps:
            if not waiter.done():
                waiter.set_result(None)

    def _plan(self, due: float, waiter: asyncio.Future[None], now: float) -> None:
        if due == math.inf:
            return
        tick = SOON if due <= now else math.ceil(due / TICK)
        if tick not in self._ticks:
            loop = asyncio.get_running_loop()
            if tick == SOON:
                loop.call_soon(self._tick, tick)
            else:
                loop.call_at(tick * TICK, self._tick, tick)
        self._ticks[tick].append(waiter)

    def _tick(self, tick: float) -> None:
        now = self.now()
        for waiter in self._ticks.pop(tick):
            step = self._steps.get(waiter)
            if step is not None and not waiter.done():
                self._take(step, waiter, now)

    def _take(self, step: Step, waiter: asyncio.Future[None], now: float) -> None:
        try:
            due = step(now)
        except Exception as error:  # it is that answer's own, and there are others in this tick
            waiter.set_exception(error)
            return
        if due is not None:
            self._plan(due, waiter, now)
        elif not waiter.done():  # the step itself may have woken all
            waiter.set_result(None)
