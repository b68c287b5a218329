"""Faults that hit two parts at once."""

import asyncio
import signal
from random import Random
from time import perf_counter

from bench.faults.cluster import DRAIN
from bench.faults.scenarios import Complaint, Fault, Scale
from bench.faults.workload import Workload

STALL = 2.0  # seconds


async def both_nodes(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """Nobody is left to go on until they start again."""
    nodes = workload.testbed.nodes
    await asyncio.gather(*(node.program.end(signal.SIGKILL) for node in nodes))
    await asyncio.sleep(random.uniform(0, 2))
    await asyncio.gather(*(node.start() for node in nodes))
    return None


async def node_and_sockets(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """The clients come back while their turns move."""
    node = workload.testbed.nodes[at % 2]
    await node.program.end(signal.SIGKILL)
    await asyncio.sleep(random.uniform(0, 1))
    workload.cut()
    await node.start()
    return None


async def node_and_redis(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """The process of Redis dies and comes back on its file, without the writer of half the turns."""
    node = workload.testbed.nodes[at % 2]
    await workload.testbed.redis.kill()
    await node.program.end(signal.SIGKILL)
    await workload.testbed.redis.start()
    await node.start()
    return None


async def kill_in_a_stall(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """What the node still had in memory is lost, and was shown to nobody."""
    node = workload.testbed.nodes[at % 2]
    workload.testbed.redis.program.signal(signal.SIGSTOP)
    await asyncio.sleep(STALL / 2)
    await node.program.end(signal.SIGKILL)
    await asyncio.sleep(STALL / 2)
    workload.testbed.redis.program.signal(signal.SIGCONT)
    await node.start()
    return None


async def end_in_a_stall(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGTERM while nothing can be handed over."""
    node = workload.testbed.nodes[at % 2]
    workload.testbed.redis.program.signal(signal.SIGSTOP)
    ending = asyncio.create_task(node.program.end(signal.SIGTERM, DRAIN))
    await asyncio.sleep(STALL)
    workload.testbed.redis.program.signal(signal.SIGCONT)
    status = await ending
    await node.start()
    return None if status == 0 else f"{node.name} ended with {status} after SIGTERM in a stall"


async def end_and_kill(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL somewhere in the hand-over."""
    node = workload.testbed.nodes[at % 2]
    node.program.signal(signal.SIGTERM)
    await asyncio.sleep(random.uniform(0, 0.3))
    await node.program.end(signal.SIGKILL)
    await node.start()
    return None


async def end_both(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """Nobody claims what is offered: each finishes what it runs."""
    nodes = workload.testbed.nodes
    begin = perf_counter()
    statuses = await asyncio.gather(*(node.program.end(signal.SIGTERM, DRAIN) for node in nodes))
    took = perf_counter() - begin
    await asyncio.gather(*(node.start() for node in nodes))
    return None if statuses == [0, 0] else f"the nodes ended with {statuses} {took:.1f} s after SIGTERM"


PAIRS: tuple[Fault, ...] = (
    both_nodes,
    node_and_sockets,
    node_and_redis,
    kill_in_a_stall,
    end_in_a_stall,
    end_and_kill,
    end_both,
)


async def double(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """The pairs of faults in turn."""
    return await PAIRS[at % len(PAIRS)](workload, at // len(PAIRS), random, scale)
