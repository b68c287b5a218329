"""`python -m bench.hostile.throw`: the sender, a process of its own that yields to everybody else.

Takes an order, builds what it sends, says `ready`, waits for a line, throws one input after the other at its time, and
says what became of them as JSON.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from itertools import cycle
from time import perf_counter

import msgspec
import uvloop

from bench.hostile.corpus.catalogue import inputs
from bench.hostile.corpus.family import Ground
from bench.hostile.deliver import deliver
from bench.hostile.inputs import LIMIT, Input, harmless
from bench.hostile.outcome import Outcome

RATE = 8.0  # inputs a second, at most
BANDWIDTH = 3e6  # bytes a second, at most
NICE = 19
SHORT_WAIT = 5.0  # seconds for answers in a short run, and of pauses in its inputs
SHORT_SIZE = 4 * LIMIT  # bytes of an input in a short run


class Order(msgspec.Struct, frozen=True):
    """What is to be thrown."""

    family: str
    port: int
    ground: Ground
    seed: int = 1
    only: str = ""  # a part of the inputs' names
    most: int = 0  # inputs; 0: all
    seconds: float = 0.0  # at least: inputs are repeated until then
    control: bool = False  # the harmless ones instead


def chosen(order: Order) -> list[Input]:
    """The inputs in their order."""
    found = inputs(order.family, order.ground, order.seed, order.only)
    if order.most:
        brief = [each for each in found if each.size <= SHORT_SIZE and _pauses(each) < SHORT_WAIT]
        found = [msgspec.structs.replace(each, wait=min(each.wait, SHORT_WAIT)) for each in brief[: order.most]]
    return found


def _pauses(each: Input) -> float:
    return sum(piece.pause for piece in each.pieces)


def timed(given: Sequence[Input], seconds: float) -> list[tuple[float, Input]]:
    """When each is sent, in seconds from the beginning."""
    at, plan = 0.0, []
    for index, each in enumerate(cycle(given)):
        if index >= len(given) and at >= seconds:
            break
        plan.append((at, each))
        at += max(1 / RATE, each.size / BANDWIDTH)
    return plan


async def throw(plan: Sequence[tuple[float, Input]], port: int) -> list[Outcome]:
    """Send each at its time, whatever became of those before."""
    began = perf_counter()
    tasks = []
    for at, each in plan:
        await asyncio.sleep(max(0.0, began + at - perf_counter()))
        tasks.append(asyncio.create_task(deliver(each, port)))
    return list(await asyncio.gather(*tasks))


def main() -> None:
    """Obey orders, one a line, each followed by a line that says when; answer each line with one."""
    os.nice(NICE)
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Order)
        plan = timed(chosen(order), order.seconds)
        if order.control:
            plan = [(at, harmless(each)) for at, each in plan]
        print("ready", flush=True)
        sys.stdin.readline()
        print(msgspec.json.encode(uvloop.run(throw(plan, order.port))).decode(), flush=True)


if __name__ == "__main__":
    main()
