"""HTTP callers who wait for an answer. A close code tells a WebSocket's to go on elsewhere, here an error must."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.protocol import errors
from server.protocol.errors import WireError

STOPPING = "This node is stopping. The response goes on without it, and can be read where it is stored."


class WaitingCallers:
    """Those of one node. It lets them wait while it drains, and sends away who is left."""

    def __init__(self) -> None:
        self.are_sent_away = False
        self._leave: dict[object, Callable[[], object]] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    @contextmanager
    def waiting(self, leave: Callable[[], object]) -> Iterator[None]:
        """Somebody waits while the block lasts. `leave` is called when they must not wait any more."""
        key = object()
        self._leave[key] = leave
        self._none_left.clear()
        try:
            if self.are_sent_away:
                leave()
            yield
        finally:
            del self._leave[key]
            if not self._leave:
                self._none_left.set()

    async def leave(self, seconds: float) -> None:
        """Wait for all of them, at most so long, and send away who is left."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._none_left.wait()
        except TimeoutError:
            pass
        self.send_away()

    def send_away(self) -> None:
        """Let nobody wait any more. May be called twice."""
        self.are_sent_away = True
        for leave in list(self._leave.values()):
            leave()


def stopping() -> WireError:
    """What they are told."""
    return errors.overloaded(STOPPING)
