"""Waits for a condition instead of for a time. A failure names what did not happen."""

import asyncio
import time
from collections.abc import Callable

import pytest

POLL = 0.005  # seconds


def wait_until(condition: Callable[[], object], description: str, seconds: float = 60.0) -> None:
    """Return once the condition holds; fail the test with its description after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {description}")
        time.sleep(POLL)


async def until(condition: Callable[[], object], description: str, seconds: float = 60.0) -> None:
    """The same in an event loop, whose other tasks run meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {description}")
        await asyncio.sleep(POLL)
