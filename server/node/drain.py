"""Ending a node without ending what it runs.

Running turns are offered: this node writes on until another one's claim fences it, so that nobody waits for the
hand-over. Where nobody claims, it finishes alone, and what is left when the grace time is over is given back.
"""

import asyncio
import time
from contextlib import suppress

import structlog

from server.node.node import Node
from server.store.retry import until_answered
from server.turns.runner import Runner
from server.web.websocket import WebSocketEndpoint

STEP = 0.01  # seconds between two looks at what is being claimed
RETURNING = 500  # clients a second that the other nodes are to take in
FORGIVE = 2.0  # seconds in which writes must be answered once the grace time is over

log = structlog.get_logger(__name__)


async def drain(node: Node, sockets: WebSocketEndpoint, grace: float) -> None:
    """Take nothing new, hand over or finish what runs within `grace` seconds, then close the sockets."""
    deadline = time.monotonic() + grace
    sockets.draining = True
    if node.state in {"ready", "loading"}:
        node.leave("draining")
    log.info("draining", turns=len(node.running), sockets=len(sockets.sockets))
    with suppress(TimeoutError):
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(grace, FORGIVE)):
            await asyncio.gather(*(_offer(node, runner) for runner in list(node.running.values())))
    await node.heart.beat()  # after the offers: whoever reads it sweeps at once
    await _ended(node, deadline)
    await asyncio.gather(*(_give_back(node, runner) for runner in list(node.running.values())))
    await sockets.close(1012, "this node is stopping", spread=min(len(sockets.sockets) / RETURNING, grace / 3))


async def _offer(node: Node, runner: Runner) -> None:
    await until_answered(lambda: node.store.offer(runner.ref, runner.writer.lease))


async def _ended(node: Node, deadline: float) -> None:
    """Until nothing runs here any more: finished, or taken by others."""
    while node.running or node.claiming:
        left = deadline - time.monotonic()
        tasks = {runner.task for runner in node.running.values() if runner.task is not None}
        if left <= 0:
            return
        if tasks:
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(STEP)


async def _give_back(node: Node, runner: Runner) -> None:
    """What nobody took and time did not let us finish: it is the first that anybody runs next."""
    if runner.task is not None:
        runner.task.cancel()
        await asyncio.wait({runner.task}, timeout=FORGIVE)
    try:
        async with asyncio.timeout(FORGIVE):
            await until_answered(lambda: node.store.release(runner.ref, runner.writer.lease))
    except TimeoutError:
        log.warning("not given back", response_id=runner.ref.id)
