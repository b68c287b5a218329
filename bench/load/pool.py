"""A pool of connections. A channel carries one turn at a time: an HTTP connection, or a lane of a WebSocket."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from bench.load.observer import TurnObserver


class Channel(Protocol):
    """What a session holds from its first turn to its last."""

    usable: bool  # for another turn

    async def ask(self, body: dict[str, object], observer: TurnObserver) -> None:
        """Send a turn and return at its end. Raises TurnFailed where nothing can be sent."""

    def close(self) -> None:
        """Close the connection that carries this channel."""


Open = Callable[[], Awaitable[list[Channel]]]  # one connection, with its channels. Raises OSError, TurnFailed.


class Pool:
    """Hands out channels, the one used last first."""

    def __init__(self, open: Open) -> None:
        self._open = open
        self._idle: list[Channel] = []
        self._all: list[Channel] = []

    async def fill(self, channels: int) -> None:
        """Open connections until so many channels wait. Raises OSError, TurnFailed."""
        while len(self._idle) < channels:
            await self._more()

    async def acquire(self) -> Channel:
        """A channel that works. Raises OSError, TurnFailed."""
        while True:
            while self._idle:
                channel = self._idle.pop()
                if channel.usable:
                    return channel
            await self._more()

    def release(self, channel: Channel) -> None:
        """Return a channel to the pool; one that is not usable any more is closed."""
        if channel.usable:
            self._idle.append(channel)
        else:
            channel.close()
            self._all.remove(channel)

    def close(self) -> None:
        """Close all connections."""
        for channel in self._all:
            channel.close()
        self._all.clear()
        self._idle.clear()

    async def _more(self) -> None:
        channels = await self._open()
        self._all += channels
        self._idle += reversed(channels)
