"""An event loop whose time stands still until the test moves it: what is due does not depend on the machine's speed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


class FrozenTime:
    """The loop's time, in seconds. Timers go off when it has been moved past them, and never by themselves."""

    def __init__(self, now: float) -> None:
        self.now = now

    async def advance(self, seconds: float) -> None:
        """Move it, and let what is due then begin."""
        self.now += seconds
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@contextmanager
def frozen_time() -> Iterator[FrozenTime]:
    """Within the block `sleep` and timeouts end only by `advance`."""
    loop = asyncio.get_running_loop()
    time = FrozenTime(loop.time())
    with patch.object(loop, "time", lambda: time.now):
        yield time
