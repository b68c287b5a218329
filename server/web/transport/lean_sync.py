"""A queue and an event for one connection, without what asyncio's make for waiters that may never come.

An empty deque takes 760 bytes; a queue of asyncio has four of them and an event one, for each socket of a node.
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class LeanQueue(Generic[T]):
    """Messages in order, for one reader; asyncio.Queue without a limit, as far as uvicorn calls it."""

    __slots__ = ("_messages", "_reader")

    def __init__(self) -> None:
        self._messages: deque[T] | None = None  # while there are any
        self._reader: asyncio.Future[None] | None = None  # while it waits

    def put_nowait(self, message: T) -> None:
        """Add a message. There is no limit here: uvicorn stops reading from the network instead."""
        if self._messages is None:
            self._messages = deque()
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def empty(self) -> bool:
        """Whether all messages were taken."""
        return self._messages is None

    async def get(self) -> T:
        """Take the oldest, once there is one. Cancelling it takes nothing. Raises RuntimeError for a second reader."""
        if self._reader is not None:
            raise RuntimeError("another task waits for the next message")
        while self._messages is None:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        if not self._messages:
            self._messages = None
        return message


class LeanEvent:
    """asyncio.Event, as far as uvicorn calls it: any number of tasks wait until it is set."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: tuple[asyncio.Future[None], ...] = ()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it: all that wait go on, even if it is cleared again before their turn comes."""
        self._is_set = True
        waiting, self._waiting = self._waiting, ()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def clear(self) -> None:
        """Clear it."""
        self._is_set = False

    async def wait(self) -> None:
        """Return at once while it is set, else when it is set the next time."""
        if self._is_set:
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting += (mine,)
        try:
            await mine
        finally:
            self._waiting = tuple(each for each in self._waiting if each is not mine)
