"""Repeating a call until the store answers it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from server.store.errors import StoreDown, StoreFull

T = TypeVar("T")

RETRY_SECONDS = 0.1  # seconds between calls that the store does not answer


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """The same call until the store answers it; every write is safe to repeat."""
    while True:
        try:
            return await call()
        except (StoreDown, StoreFull):
            await asyncio.sleep(RETRY_SECONDS)
