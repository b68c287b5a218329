"""Two real nodes and one greedy answer at a time, whose writer is killed at a random point."""

import asyncio
import signal
from random import Random

from bench.faults.client import Client, Question
from bench.faults.cluster import Cluster, Node, cluster
from bench.faults.ledger import Ledger, said
from bench.faults.scenarios import Scale
from bench.faults.table import Row
from bench.faults.workload import TURN, eventually, fetch_stored, inspect, tally

HEROES = ("fox", "bear", "robot", "whale", "witch", "pirate", "snail", "dragon")
GREEDY = {"temperature": 0, "ignore_eos": True, "max_output_tokens": 400}  # long enough to be cut


async def twins(scale: Scale) -> Row:
    """What was shown never changes; how often the whole text is that of an answer which nobody cut is only counted."""
    random = Random(scale.seed)
    result, ledgers, same = Row("twins", injected=scale.times), [], 0
    async with cluster(2, engine=scale.engine, keep=scale.keep) as testbed:
        for at in range(scale.times):
            question = Question("", f"Tell me a long story about a {HEROES[at % len(HEROES)]}.", more=GREEDY)
            whole = await Client([testbed.nodes[0].url], random).ask(question, f"whole-{at}", TURN)
            assert whole.final is not None
            last = whole.events[-1].number - 6  # those which end it come together
            cut = await _cut(testbed, question, f"cut-{at}", random.randrange(5, max(6, last)), result)
            cut.stored = await fetch_stored(testbed, cut.id)
            same += cut.final is not None and said(cut.final) == said(whole.final)
            ledgers.append(cut)
        tally(result, ledgers, {})
        await inspect(result, testbed)
    result.notes.append(f"{same} of {scale.times} whole texts are those of an answer that nobody cut")
    return result


async def _cut(testbed: Cluster, question: Question, key: str, number: int, result: Row) -> Ledger:
    """Kill the node that writes once this number was shown, and start it again."""
    client = Client([testbed.balancer.url], Random(number))
    asking = asyncio.create_task(client.ask(question, key, TURN))
    await eventually(lambda: asking.done() or (client.turn is not None and client.turn.number >= number), TURN)
    node = await _writer(testbed)
    if node is None:
        result.wrong.append(f"{key} had ended before it was cut")
        return await asking
    await node.program.end(signal.SIGKILL)
    ledger = await asking
    client.disconnect()
    await node.start()
    return ledger


async def _writer(testbed: Cluster) -> Node | None:
    running = await asyncio.gather(*(node.running() for node in testbed.nodes))
    return next((node for node, turns in zip(testbed.nodes, running, strict=True) if turns), None)
