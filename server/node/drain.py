"""Ending a node without ending what it runs.

Running turns are offered: this node writes on until another one's claim fences it, so that nobody waits for the
hand-over. Where nobody claims, it finishes alone, and what is left when the grace time is over is given back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from server.node.node import Node
from server.store.retry import until_answered
from server.turns.runner import Runner

POLL_SECONDS = 0.01  # between two looks at what is being claimed
STORE_SECONDS = 2.0  # in which writes must be answered once the grace time is over

log = structlog.get_logger(__name__)


async def drain(node: Node, close_sockets: Callable[[], Awaitable[None]], grace: float, spread: float = 0.0) -> None:
    """Take nothing new, hand over or finish what runs, then close the sockets, all within `grace` seconds.

    Closing takes `spread` of them. Where the store does not answer it takes up to `STORE_SECONDS` more.
    """
    deadline = time.monotonic() + grace - spread
    node.begin_drain()
    log.info("draining", turns=len(node.scheduler.running))
    with suppress(TimeoutError):
        async with asyncio.timeout(max(grace, STORE_SECONDS)):
            await node.scheduler.offer_all()
    await node.heartbeater.beat()  # after the offers: whoever reads it looks for them at once
    await _idle(node, deadline)
    await asyncio.gather(*(_give_back(node, runner) for runner in list(node.scheduler.running.values())))
    await close_sockets()


async def _idle(node: Node, deadline: float) -> None:
    """Until nothing runs here any more, finished or taken by others, or the deadline is over."""
    while not node.scheduler.is_idle:
        left = deadline - time.monotonic()
        tasks = {runner.task for runner in node.scheduler.running.values() if runner.task is not None}
        if left <= 0:
            return
        if tasks:
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(POLL_SECONDS)


async def _give_back(node: Node, runner: Runner) -> None:
    """What nobody took and time did not let us finish: it is the first that anybody runs next."""
    try:
        async with asyncio.timeout(STORE_SECONDS):
            if runner.task is not None:
                runner.task.cancel()
                await asyncio.wait({runner.task}, timeout=STORE_SECONDS / 2)
            await until_answered(lambda: node.resources.store.release(runner.ref, runner.lease))
    except TimeoutError:
        log.warning("turn_not_given_back", response_id=runner.ref.id)
