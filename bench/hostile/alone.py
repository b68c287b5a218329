"""Each input on its own, on a node that does nothing else: which one is it?"""

import asyncio

from bench.hostile.corpus.catalogue import inputs
from bench.hostile.deliver import deliver
from bench.hostile.ground import make_ground
from bench.hostile.node import ProbedNode

AFTERWARDS = 0.1  # seconds of the loop after the last answer that are still an input's


async def alone(node: ProbedNode, families: list[str], seed: int, only: str) -> None:
    """One line for each input, the longest callback first."""
    ground = await make_ground(node.port)
    lines: list[tuple[float, str]] = []
    for family in families:
        for each in inputs(family, ground, seed, only):
            await node.probe("reset")
            before = node.used().serving_rss
            outcome = await deliver(each, node.port)
            await asyncio.sleep(AFTERWARDS)
            loop = await node.probe("read")
            said = ", ".join(f"{count} x {code}" for code, count in outcome.refused.items())
            ended = f" closed {outcome.closed}" if outcome.closed else ""
            took = outcome.ended - outcome.began
            what = f"{outcome.answers} of {outcome.due} answers in {took:.2f} s, {outcome.good} good {said}{ended}"
            where = max(loop.stacks, key=loop.stacks.__getitem__, default="")
            stays = (node.used().serving_rss - before) / 1e6
            figures = f"{loop.callback * 1e3:7.1f} ms (turn {loop.turn * 1e3:.1f}, {stays:+.0f} MB)"
            line = f"{figures}  {family}: {each.name}: {what}  {where}"
            lines.append((loop.callback, line))
            if not await node.alive():
                print(f"DEAD after {family}: {each.name}", flush=True)
                await node.program.end()
                await node.start()
                ground = await make_ground(node.port)
    for _, line in sorted(lines, reverse=True):
        print(line)
