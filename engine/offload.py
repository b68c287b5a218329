"""Long synchronous work beside the event loop, so that no input holds up everybody else's streams."""

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Bytes of input up to which work stays on the event loop. What reads or writes JSON object by object in Python takes up
# to half a microsecond for each byte, so this is about 10 ms at worst; a thread costs two hops, some 0.1 ms.
INLINE_BYTES = 16 * 1024


async def offloaded(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, which reads or writes about `size` bytes: called here if it is short, else `in_thread`."""
    if size <= INLINE_BYTES:
        return work(*args, **kwargs)
    return await in_thread(work, *args, **kwargs)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, called in a thread. Raises what `work` raises.

    Cancelled before a thread has taken it up, it is never called. A thread cannot be stopped: cancelled later, this
    waits for its end, so that whoever bounds such work by a lock or a budget gives that back when it is really over.
    """
    call = _Call(partial(work, *args, **kwargs))
    running = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if call.has_begun:
            await asyncio.wait({running})
            _ = running.cancelled() or running.exception()  # nobody else looks at it
        else:
            running.cancel()
        raise


class _Call(Generic[T]):
    """Work that says whether a thread has taken it up. It sees the context variables of whoever made it."""

    __slots__ = ("_context", "_work", "has_begun")

    def __init__(self, work: Callable[[], T]) -> None:
        self.has_begun = False
        self._context = contextvars.copy_context()
        self._work: Callable[[], T] = work

    def __call__(self) -> Any:
        self.has_begun = True
        return self._context.run(self._work)
