"""Scenarios that measure how fast something happens: resuming elsewhere, stopping, and many who come back at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from time import perf_counter

import orjson

from bench.faults.client import Client, Question
from bench.faults.cluster import Cluster, Node, cluster
from bench.faults.ledger import TERMINAL, Ledger
from bench.faults.scenarios import QUESTIONS, Scale
from bench.faults.table import Row, summary
from bench.faults.workload import (
    TURN,
    QuestionSet,
    eventually,
    fetch_stored,
    inspect,
    logged,
    scripted,
    tally,
    with_references,
)
from bench.wire import Wire, type_of

QUICK = 200  # tokens per second, where answers need not take long
SLOW = 2  # where thousands look on
REPLAY = 1000  # tokens
LONG = Question("long", f"Everything, please. [tokens={REPLAY}]")
BEHIND = 5  # events that a client missed before it comes back elsewhere
IDLE = 5.0  # seconds within which no turn may be in any engine, once all have ended
ENDS = frozenset(name.encode() for name in TERMINAL)


async def resume(scale: Scale) -> Row:
    """Look on at the node that does not run the turn."""
    async with cluster(2, rate=QUICK, keep=scale.keep) as testbed:
        here, there = testbed.nodes
        asked = await with_references(here.url, [*scripted(QUESTIONS, scale.tokens), LONG])
        result, ledgers, first, replay = Row("resume", injected=2 * scale.times), [], [], []
        for at in range(scale.times):
            async with _turn(here, asked.questions[at % QUESTIONS], f"resume-{at}", 20) as (_, ledger):
                first.append(await _missed(there, ledger))
            ledgers.append(ledger)
        looking = await Client([here.url], Random(0)).ask(LONG, "resume-long", TURN)
        for _ in range(scale.times):
            ledger, seconds = await _replay(there, looking)
            ledgers.append(ledger)
            replay.append(seconds)
        result.notes.append(f"connect to the first missed event, p50 / p99: {summary(first)}")
        result.notes.append(f"replay of {REPLAY} tokens, p50 / p99: {summary(replay)}")
        return await _judged(result, ledgers, testbed, asked)


@asynccontextmanager
async def _turn(node: Node, question: Question, key: str, number: int) -> AsyncIterator[tuple[Client, Ledger]]:
    """A turn that is at this number; afterwards it has ended."""
    client = Client([node.url], Random(0))
    asking = asyncio.create_task(client.ask(question, key, TURN))
    try:
        await eventually(lambda: client.turn is not None and client.turn.number >= number, TURN)
        assert client.turn is not None
        yield client, client.turn
        await asking
    finally:
        asking.cancel()
        client.disconnect()


async def _missed(node: Node, ledger: Ledger) -> float:
    """Seconds from connecting to the first missed event. Raises TimeoutError."""
    came: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def take(payload: bytes, arrived: float) -> None:
        if type_of(payload).startswith(b"response.") and not came.done():
            came.set_result(arrived)

    wire = Wire(take)
    begin = perf_counter()
    await wire.open(f"{node.url}?resume={ledger.id}&starting_after={ledger.number - BEHIND}")
    try:
        async with asyncio.timeout(TURN):
            return await came - begin
    finally:
        wire.abort()


async def _replay(node: Node, done: Ledger) -> tuple[Ledger, float]:
    """A whole turn on an open socket, and the seconds that it took. Raises TimeoutError."""
    ledger = Ledger(done.name, perf_counter())
    ended = asyncio.Event()
    frames: list[tuple[bytes, float]] = []

    def take(payload: bytes, arrived: float) -> None:
        frames.append((payload, arrived))
        if type_of(payload) in ENDS:
            ended.set()

    wire = Wire(take)
    await wire.open(node.url)
    begin = perf_counter()
    wire.send(orjson.dumps({"type": "throughline:resume", "response_id": done.id}))
    try:
        async with asyncio.timeout(TURN):
            await ended.wait()
    finally:
        wire.abort()
    for payload, arrived in frames:
        if type_of(payload).startswith(b"response."):
            ledger.add(orjson.loads(payload), arrived)
    return ledger, frames[-1][1] - begin


async def stop(scale: Scale) -> Row:
    """Cancel running turns from their own node and from the other one."""
    async with cluster(2, keep=scale.keep) as testbed:
        here, there = testbed.nodes
        asked = await with_references(here.url, scripted(QUESTIONS, scale.tokens))
        result, ledgers = Row("stop", injected=scale.times), []
        times: dict[str, list[float]] = {"same": [], "other": []}
        other = Wire(lambda payload, arrived: None)
        await other.open(there.url)
        for at in range(scale.times):
            where = ("same", "other")[at % 2]
            async with _turn(here, asked.questions[at % QUESTIONS], f"stop-{at}", 6 + at % 20) as (client, ledger):
                begin = perf_counter()
                ledger.stopped = True
                frame = orjson.dumps({"type": "throughline:cancel", "response_id": ledger.id})
                client.stop() if where == "same" else other.send(frame)
            ledgers.append(ledger)
            if ledger.final is not None:
                times[where].append(ledger.events[-1].arrived - begin)
        other.abort()
        result.notes += [
            f"from sending to the last event, {where} node, p50 / p99: {summary(t)}" for where, t in times.items()
        ]
        return await _judged(result, ledgers, testbed, asked)


async def storm(scale: Scale) -> Row:
    """A few turns with many who look on; all sockets are cut at once, and all come back."""
    turns = max(1, min(100, scale.clients // 10))
    async with cluster(2, rate=SLOW, keep=scale.keep) as testbed:
        asked = QuestionSet(scripted(turns, scale.tokens), {})
        random = Random(scale.seed)
        owners = [Client([testbed.balancer.url], Random(random.random())) for _ in range(turns)]
        asking = [
            asyncio.create_task(owner.ask(question, f"storm-{question.name}", 3 * TURN))
            for owner, question in zip(owners, asked.questions, strict=True)
        ]
        await eventually(lambda: all(owner.turn is not None and owner.turn.id for owner in owners), TURN)
        ids = [owner.turn.id for owner in owners if owner.turn is not None]
        clients = [Client([testbed.balancer.url], Random(random.random())) for _ in range(scale.clients)]
        looking = [asyncio.create_task(_follow(client, at, ids)) for at, client in enumerate(clients)]
        result = Row("storm", injected=scale.times)
        for _ in range(scale.times):
            await _reconnect_all(result, clients)
        ledgers = await asyncio.gather(*asking, *looking)
        return await _judged(result, ledgers, testbed, asked)


async def _follow(client: Client, at: int, ids: Sequence[str]) -> Ledger:
    await asyncio.sleep(at / 500)  # the first coming is not the storm
    return await client.follow("", ids[at % len(ids)], 3 * TURN)


async def _reconnect_all(result: Row, clients: Sequence[Client]) -> None:
    """Cut all, and wait until each is shown its turn again. Raises TimeoutError."""
    await eventually(lambda: all(client.turn is not None and client.turn.number >= 0 for client in clients), TURN)
    begin = perf_counter()
    for client in clients:
        client.cut()
    await eventually(lambda: all(client.resumed > begin for client in clients), TURN)
    waits = [client.resumed - begin for client in clients]
    result.hit += len(waits)
    result.gaps += waits
    result.notes.append(f"{len(waits)} sockets were all back after {max(waits):.2f} s")


async def _judged(result: Row, ledgers: Sequence[Ledger], testbed: Cluster, asked: QuestionSet) -> Row:
    """Judge the turns; no engine may still be busy with one."""
    for ledger in ledgers:
        ledger.stored = await fetch_stored(testbed, ledger.id)
    tally(result, ledgers, asked.known)
    for node in testbed.nodes:
        if not await _idle(node):
            result.wrong.append(f"{node.name} still has turns in its engine")
    await inspect(result, testbed)
    logged(result, testbed)
    return result


async def _idle(node: Node) -> bool:
    until = perf_counter() + IDLE
    while await node.running():
        if perf_counter() > until:
            return False
        await asyncio.sleep(0.05)
    return True
