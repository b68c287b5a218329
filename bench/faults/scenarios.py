"""What is broken while a crowd asks, one function for each kind of fault."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from time import perf_counter
from typing import Any

import msgspec

from bench.faults.client import Fragile, Question
from bench.faults.cluster import DRAIN, Cluster, cluster
from bench.faults.crowd import Crowd, Task, row, scripted, task
from bench.faults.table import Row
from bench.wire import OnText

SETTLE = 1.0  # seconds between two faults, in which the nodes share the turns anew
QUESTIONS = 64
LENGTHY: Mapping[str, Any] = {"ignore_eos": True, "max_output_tokens": 1000}  # so that there is something to interrupt
REAL = ("Tell me a long story.", "What can you do?", "Write a poem about the sea.", "Explain how rain comes about.")


class Scale(msgspec.Struct, frozen=True):
    """How much of everything."""

    times: int  # injections at least
    clients: int
    tokens: int  # of an answer
    seed: int
    longest: float  # seconds that something is frozen or stalled
    turns: int = 0  # at least; then there are more injections
    engine: str = "scripted"
    keep: bool = False  # what the programs wrote
    rate: int = 30  # tokens per second of the scripted engine


Complaint = str | None
Fault = Callable[[Crowd, int, Random, Scale], Awaitable[Complaint]]
Scenario = Callable[[Scale], Awaitable[Row]]


@asynccontextmanager
async def room_and_task(scale: Scale, *, cut: bool = False) -> AsyncIterator[tuple[Cluster, Task]]:
    """Two nodes and what to ask them."""
    async with cluster(2, engine=scale.engine, rate=scale.rate, cut=cut, keep=scale.keep) as room:
        if scale.engine == "scripted":
            yield room, await task(room.nodes[0].url, scripted(QUESTIONS, scale.tokens))
        else:
            yield room, Task([Question(text, text, more=LENGTHY) for text in REAL], {})


def breaking(name: str, fault: Fault, *, cut: bool = False, durable: bool = True) -> Scenario:
    """A scenario in which the same fault comes again and again under a crowd."""

    async def run(scale: Scale) -> Row:
        random = Random(scale.seed)
        complaints = []
        async with (
            room_and_task(scale, cut=cut) as (room, asked),
            Crowd(room, asked, scale.clients, scale.seed) as crowd,
        ):
            if not durable or not asked.known:
                crowd.chained = 0.0  # there would be nothing to go on from, or no telling what is right
            while (at := len(crowd.faults)) < scale.times or len(crowd.ended) < scale.turns:
                await crowd.settle()
                begin = perf_counter()
                complaints.append(await fault(crowd, at, random, scale))
                crowd.broke(begin)
                await asyncio.sleep(SETTLE)
            await crowd.finish()
            result = await row(name, crowd, durable=durable)
        result.wrong += [complaint for complaint in complaints if complaint]
        return result

    return run


async def kill(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL one of the nodes and start it again; the other one is next."""
    node = crowd.room.nodes[at % 2]
    await node.program.end(signal.SIGKILL)
    await node.start()
    return None


async def freeze(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGSTOP one, and SIGCONT when others have long gone on with its turns: it must notice."""
    node = crowd.room.nodes[at % 2]
    node.program.signal(signal.SIGSTOP)
    await asyncio.sleep(random.uniform(min(3.0, scale.longest), scale.longest))
    node.program.signal(signal.SIGCONT)
    await node.ready()
    return None


async def roll(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGTERM one, wait for its end, start it again: what a new version costs."""
    node = crowd.room.nodes[at % 2]
    begin = perf_counter()
    status = await node.program.end(signal.SIGTERM, DRAIN)
    took = perf_counter() - begin
    await node.start()
    return None if status == 0 else f"{node.name} ended with {status} {took:.1f} s after SIGTERM"


async def stall(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """Redis answers nobody for 1, 3, 10 s, by turns paused and frozen."""
    seconds = min((1.0, 3.0, 10.0)[at // 2 % 3], scale.longest)
    if at % 2:
        await crowd.room.redis.call("CLIENT", "PAUSE", str(round(seconds * 1000)), "ALL")
        await asyncio.sleep(seconds)
    else:
        crowd.room.redis.program.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        crowd.room.redis.program.signal(signal.SIGCONT)
    return None


async def kill_redis(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL redis-server, and start it on its append-only file."""
    await crowd.room.redis.kill()
    await asyncio.sleep(random.uniform(0, 1))
    await crowd.room.redis.start()
    return None


async def empty_redis(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL redis-server, and start it with nothing: the nodes put back what they run."""
    await crowd.room.redis.kill()
    crowd.room.redis.forget()
    await asyncio.sleep(random.uniform(0, 1))
    await crowd.room.redis.start()
    return None


async def empty_redis_and_cut(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """The same, and all clients lose their sockets as it comes back: they resume what Redis does not know yet."""
    await empty_redis(crowd, at, random, scale)
    await asyncio.sleep(random.uniform(0, 0.2))
    crowd.cut()
    return None


async def age_redis(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL redis-server, and start it as it was up to 2 s before: as much may `everysec` lose with a machine."""
    redis = crowd.room.redis
    redis.remember()
    await asyncio.sleep(random.uniform(0, 2))
    await redis.kill()
    redis.go_back()
    await asyncio.sleep(random.uniform(0, 1))
    await redis.start()
    return None


async def kill_connections(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """Every connection to Redis ends at once."""
    await crowd.room.redis.call("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(random.uniform(0, 0.5))
    return None


async def flush_scripts(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """Redis forgets its scripts, as a promoted replica does."""
    await crowd.room.redis.call("SCRIPT", "FLUSH", "SYNC")
    await asyncio.sleep(random.uniform(0, 0.5))
    return None


async def anything(crowd: Crowd, at: int, random: Random, scale: Scale) -> Complaint:
    """One of all the others."""
    faults = (kill, freeze, roll, stall, kill_redis, kill_connections, flush_scripts)
    return await random.choice(faults)(crowd, at, random, scale)


async def cuts(scale: Scale) -> Row:
    """Every socket is cut after some bytes, in the middle of whatever was being sent."""
    random = Random(scale.seed)
    whole = 250 * scale.tokens  # bytes of an answer, or a little more

    def fragile(on_text: OnText) -> Fragile:
        return Fragile(on_text, random.randrange(1, whole))

    async with room_and_task(scale) as (room, asked), Crowd(room, asked, scale.clients, scale.seed, fragile) as crowd:
        await crowd.until(scale.times)
        await crowd.finish()
        result = await row("cuts", crowd)
    for ledger in crowd.ended:
        result.injected += len(ledger.cuts)
        result.hit += bool(ledger.cuts)
        after = (next((e.arrived for e in ledger.events if e.arrived > cut), None) for cut in ledger.cuts)
        result.gaps += [each - cut for cut, each in zip(ledger.cuts, after, strict=True) if each is not None]
    return result
