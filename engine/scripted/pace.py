"""When tokens are due."""

import asyncio
import math
from collections import defaultdict

TICK = 0.004  # seconds; streams that are due within one wake together, so that a thousand cost few timers


class Pace:
    """Waits for points in time on one grid."""

    def __init__(self) -> None:
        self._ticks: defaultdict[float, list[asyncio.Future[None]]] = defaultdict(list)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def until(self, due: float) -> None:
        """Returns at once when that is past, having let others run."""
        if due <= self.now():
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        tick = due if due == math.inf else math.ceil(due / TICK)
        if tick not in self._ticks and tick != math.inf:
            loop.call_at(tick * TICK, self._wake, tick)
        waiter: asyncio.Future[None] = loop.create_future()
        self._ticks[tick].append(waiter)
        await waiter

    def _wake(self, tick: float) -> None:
        for waiter in self._ticks.pop(tick, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        for tick in list(self._ticks):
            self._wake(tick)
