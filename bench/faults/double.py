"""Two things break at once."""

import asyncio
import signal
from random import Random
from time import perf_counter

from bench.faults.cluster import DRAIN
from bench.faults.crowd import Crowd
from bench.faults.scenarios import Complaint, Fault, Scale

STALL = 2.0  # seconds


async def both_nodes(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """Nobody is left to go on until they start again."""
    nodes = crowd.room.nodes
    await asyncio.gather(*(node.program.end(signal.SIGKILL) for node in nodes))
    await asyncio.sleep(random.uniform(0, 2))
    await asyncio.gather(*(node.start() for node in nodes))
    return None


async def node_and_sockets(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """The clients come back while their turns move."""
    node = crowd.room.nodes[at % 2]
    await node.program.end(signal.SIGKILL)
    await asyncio.sleep(random.uniform(0, 1))
    crowd.cut()
    await node.start()
    return None


async def node_and_redis(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """The process of Redis dies and comes back on its file, without the writer of half the turns."""
    node = crowd.room.nodes[at % 2]
    await crowd.room.redis.kill()
    await node.program.end(signal.SIGKILL)
    await crowd.room.redis.start()
    await node.start()
    return None


async def kill_in_a_stall(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """What the node still had in memory is lost, and was shown to nobody."""
    node = crowd.room.nodes[at % 2]
    crowd.room.redis.program.signal(signal.SIGSTOP)
    await asyncio.sleep(STALL / 2)
    await node.program.end(signal.SIGKILL)
    await asyncio.sleep(STALL / 2)
    crowd.room.redis.program.signal(signal.SIGCONT)
    await node.start()
    return None


async def end_in_a_stall(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGTERM while nothing can be handed over."""
    node = crowd.room.nodes[at % 2]
    crowd.room.redis.program.signal(signal.SIGSTOP)
    ending = asyncio.create_task(node.program.end(signal.SIGTERM, DRAIN))
    await asyncio.sleep(STALL)
    crowd.room.redis.program.signal(signal.SIGCONT)
    status = await ending
    await node.start()
    return None if status == 0 else f"{node.name} ended with {status} after SIGTERM in a stall"


async def end_and_kill(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL somewhere in the hand-over."""
    node = crowd.room.nodes[at % 2]
    node.program.signal(signal.SIGTERM)
    await asyncio.sleep(random.uniform(0, 0.3))
    await node.program.end(signal.SIGKILL)
    await node.start()
    return None


async def end_both(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """Nobody claims what is offered: each finishes what it runs."""
    nodes = crowd.room.nodes
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


async def double(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """One pair after the other."""
    return await PAIRS[at % len(PAIRS)](crowd, at // len(PAIRS), random, scale)
