"""Work beside the event loop."""

import threading

import pytest

from engine.offload import INLINE_BYTES, offloaded


async def test_short_work_stays_on_the_loop() -> None:
    assert await offloaded(INLINE_BYTES, threading.get_ident) == threading.get_ident()


async def test_long_work_leaves_it() -> None:
    assert await offloaded(INLINE_BYTES + 1, threading.get_ident) != threading.get_ident()


@pytest.mark.parametrize("size", [0, INLINE_BYTES + 1])
async def test_what_it_raises_is_raised(size: int) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await offloaded(size, int, "x")
