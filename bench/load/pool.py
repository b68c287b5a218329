"""Connections that wait for use. A line is a place where one turn runs at a time: an HTTP connection, or a lane."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from bench.load.watch import Watch


class Line(Protocol):
    """What a session holds while it lasts."""

    usable: bool  # for another turn

    async def ask(self, body: dict[str, object], watch: Watch) -> None:
        """Send a turn and return at its end. Raises Failed where nothing can be sent."""

    def close(self) -> None:
        """Hang up."""


Open = Callable[[], Awaitable[list[Line]]]  # one connection, with its lines. Raises OSError, Failed.


class Pool:
    """Hands out lines, the one used last first."""

    def __init__(self, open: Open) -> None:
        self._open = open
        self._idle: list[Line] = []
        self._all: list[Line] = []

    async def fill(self, lines: int) -> None:
        """Open connections until so many lines wait. Raises OSError, Failed."""
        while len(self._idle) < lines:
            await self._more()

    async def take(self) -> Line:
        """A line that works. Raises OSError, Failed."""
        while True:
            while self._idle:
                line = self._idle.pop()
                if line.usable:
                    return line
            await self._more()

    def give(self, line: Line) -> None:
        """It is free again."""
        if line.usable:
            self._idle.append(line)
        else:
            line.close()
            self._all.remove(line)

    def close(self) -> None:
        """Hang up everywhere."""
        for line in self._all:
            line.close()
        self._all.clear()
        self._idle.clear()

    async def _more(self) -> None:
        lines = await self._open()
        self._all += lines
        self._idle += reversed(lines)
