"""The faults, one function each, and the scenarios that inject them while clients ask."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from time import perf_counter
from typing import Any

import msgspec

from bench.faults.client import Client, Fragile, Question
from bench.faults.cluster import DRAIN, Cluster, alone, cluster
from bench.faults.table import Row
from bench.faults.workload import TURN, QuestionSet, Workload, row, scripted, with_references
from bench.wire import OnText

SETTLE = 1.0  # seconds between two faults, in which the nodes share the turns anew
QUESTIONS = 64
TASKS = ("committer", "heartbeat", "reconciler", "tailer", "socket_checker", "engine_check")  # of a node
LENGTHY: Mapping[str, Any] = {"ignore_eos": True, "max_output_tokens": 1000}  # so that there is something to interrupt
REAL = ("Tell me a long story.", "What can you do?", "Write a poem about the sea.", "Explain how rain comes about.")


class Scale(msgspec.Struct, frozen=True):
    """The size of a scenario."""

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
Fault = Callable[[Workload, int, Random, Scale], Awaitable[Complaint]]
Scenario = Callable[[Scale], Awaitable[Row]]


@asynccontextmanager
async def cluster_and_questions(
    scale: Scale, *, cut: bool = False, own: bool = False
) -> AsyncIterator[tuple[Cluster, QuestionSet]]:
    """Two nodes, or one with a Redis of its `own`, and what to ask them."""
    programs = (
        alone(rate=scale.rate, keep=scale.keep)
        if own
        else cluster(2, engine=scale.engine, rate=scale.rate, cut=cut, keep=scale.keep)
    )
    async with programs as testbed:
        if scale.engine == "scripted":
            yield testbed, await with_references(testbed.nodes[0].url, scripted(QUESTIONS, scale.tokens))
        else:
            yield testbed, QuestionSet([Question(text, text, more=LENGTHY) for text in REAL], {})


def breaking(name: str, fault: Fault, *, cut: bool = False, durable: bool = True, own: bool = False) -> Scenario:
    """A scenario in which the same fault is injected repeatedly while clients ask."""

    async def run(scale: Scale) -> Row:
        random = Random(scale.seed)
        complaints = []
        async with (
            cluster_and_questions(scale, cut=cut, own=own) as (testbed, asked),
            Workload(testbed, asked, scale.clients, scale.seed) as workload,
        ):
            if not durable or not asked.known:
                workload.chained = 0.0  # there would be nothing to go on from, or no telling what is right
            while (at := len(workload.faults)) < scale.times or len(workload.ended) < scale.turns:
                await workload.settle()
                begin = perf_counter()
                complaints.append(await fault(workload, at, random, scale))
                workload.record_fault(begin)
                await asyncio.sleep(SETTLE)
            await workload.finish()
            result = await row(name, workload, durable=durable)
        result.wrong += [complaint for complaint in complaints if complaint]
        return result

    return run


async def kill(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL one of the nodes and start it again; the other one is next."""
    node = workload.testbed.nodes[at % 2]
    await node.program.end(signal.SIGKILL)
    await node.start()
    return None


async def freeze(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGSTOP one, and SIGCONT when others have long gone on with its turns: it must notice."""
    node = workload.testbed.nodes[at % 2]
    node.program.signal(signal.SIGSTOP)
    await asyncio.sleep(random.uniform(min(3.0, scale.longest), scale.longest))
    node.program.signal(signal.SIGCONT)
    await node.ready()
    return None


async def roll(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGTERM one, wait for its end, start it again: what a new version costs."""
    node = workload.testbed.nodes[at % 2]
    begin = perf_counter()
    status = await node.program.end(signal.SIGTERM, DRAIN)
    took = perf_counter() - begin
    await node.start()
    return None if status == 0 else f"{node.name} ended with {status} {took:.1f} s after SIGTERM"


async def stall(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """Redis answers nobody for 1, 3, 10 s, by turns paused and frozen."""
    seconds = min((1.0, 3.0, 10.0)[at // 2 % 3], scale.longest)
    if at % 2:
        await workload.testbed.redis.call("CLIENT", "PAUSE", str(round(seconds * 1000)), "ALL")
        await asyncio.sleep(seconds)
    else:
        workload.testbed.redis.program.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        workload.testbed.redis.program.signal(signal.SIGCONT)
    return None


async def kill_redis(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL redis-server, and start it on its append-only file."""
    await workload.testbed.redis.kill()
    await asyncio.sleep(random.uniform(0, 1))
    await workload.testbed.redis.start()
    return None


async def kill_task(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """Cancel a loop of a node, by a lever of the scripted engine, and wait until the node has answered that."""
    node, task = workload.testbed.nodes[at % 2], TASKS[at // 2 % len(TASKS)]
    client = Client([node.url], random)
    try:
        question = Question(f"cancel-{at}", f"Cancel one. [cancel={task}] [tokens=4]")
        ledger = await client.ask(question, f"{workload.name}-cancel-{at}", TURN)
    finally:
        client.disconnect()
    await node.ready()
    is_answered = ledger.final is not None and ledger.final["status"] == "completed"
    return None if is_answered else f"{node.name} did not answer after its task {task} was cancelled"


async def kill_own_redis(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL the Redis that a lone node started: it is that node's part to start it again."""
    await workload.testbed.redis.kill()
    await asyncio.sleep(random.uniform(0, 1))
    await workload.testbed.redis.start()
    return None


async def empty_redis(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL redis-server, and start it with nothing: the nodes put back what they run."""
    await workload.testbed.redis.kill()
    workload.testbed.redis.forget()
    await asyncio.sleep(random.uniform(0, 1))
    await workload.testbed.redis.start()
    return None


async def empty_redis_and_cut(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """The same, and all clients lose their sockets as it comes back: they resume what Redis does not know yet."""
    await empty_redis(workload, at, random, scale)
    await asyncio.sleep(random.uniform(0, 0.2))
    workload.cut()
    return None


async def age_redis(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """SIGKILL redis-server, and start it as it was up to 2 s before: as much may `everysec` lose with a machine."""
    redis = workload.testbed.redis
    redis.remember()
    await asyncio.sleep(random.uniform(0, 2))
    await redis.kill()
    redis.go_back()
    await asyncio.sleep(random.uniform(0, 1))
    await redis.start()
    return None


async def kill_connections(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """Every connection to Redis ends at once."""
    await workload.testbed.redis.call("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(random.uniform(0, 0.5))
    return None


async def flush_scripts(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """Redis forgets its scripts, as a promoted replica does."""
    await workload.testbed.redis.call("SCRIPT", "FLUSH", "SYNC")
    await asyncio.sleep(random.uniform(0, 0.5))
    return None


async def anything(workload: Workload, at: int, random: Random, scale: Scale) -> Complaint:
    """A random choice of the other faults."""
    faults = (kill, freeze, roll, stall, kill_redis, kill_connections, flush_scripts)
    return await random.choice(faults)(workload, at, random, scale)


async def cuts(scale: Scale) -> Row:
    """Every socket is cut after some bytes, in the middle of whatever was being sent."""
    random = Random(scale.seed)
    whole = 250 * scale.tokens  # bytes of an answer, or a little more

    def fragile(on_text: OnText) -> Fragile:
        return Fragile(on_text, random.randrange(1, whole))

    async with (
        cluster_and_questions(scale) as (testbed, asked),
        Workload(testbed, asked, scale.clients, scale.seed, fragile) as workload,
    ):
        await workload.until(scale.times)
        await workload.finish()
        result = await row("cuts", workload)
    for ledger in workload.ended:
        result.injected += len(ledger.cuts)
        result.hit += bool(ledger.cuts)
        after = (next((e.arrived for e in ledger.events if e.arrived > cut), None) for cut in ledger.cuts)
        result.gaps += [each - cut for cut, each in zip(ledger.cuts, after, strict=True) if each is not None]
    return result
