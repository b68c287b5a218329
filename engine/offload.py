"""Long synchronous work beside the event loop, so that no input holds up everybody else's streams."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Bytes of input up to which work stays on the event loop. What reads or writes JSON object by object in Python takes up
# to half a microsecond for each byte, so this is about 10 ms at worst; a thread costs two hops, some 0.1 ms.
INLINE_BYTES = 16 * 1024


async def offloaded(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, which reads or writes about `size` bytes: called here if it is short, else in a thread.

    Raises what `work` raises. Cancelling the wait does not stop a thread.
    """
    if size <= INLINE_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
