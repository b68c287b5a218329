"""Calls that go on until the store answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from server.store.errors import StoreDown, StoreFull

T = TypeVar("T")

RETRY_SECONDS = 0.1  # seconds between two attempts, where the store does not answer or is full


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call until the store answers it, for ever if need be; cancel it to give up.

    Every call of a store may be repeated. Other errors than StoreDown and StoreFull are raised.
    """
    while True:
        try:
            return await call()
        except (StoreDown, StoreFull):
            await asyncio.sleep(RETRY_SECONDS)
