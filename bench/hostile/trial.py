"""One family against one node: the control, the hostile inputs, and what stays afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import msgspec

from bench.hostile.corpus.family import Ground
from bench.hostile.ground import make_ground
from bench.hostile.node import ProbedNode
from bench.hostile.outcome import Outcome
from bench.hostile.polite import Figures, Polite, worse
from bench.hostile.probe import Reading
from bench.hostile.sender import Sender
from bench.hostile.throw import Order
from bench.hostile.verdict import Row, Targets

SETTLE = 120.0  # seconds for the polite clients to get over what was before
NO_CHANCE = 5  # times the promise: nobody needs a second look at what is so much worse


class Pace(msgspec.Struct, frozen=True):
    """How long a run takes."""

    warm: float = 3.0  # seconds of polite talk before memory is looked at
    seconds: float = 10.0  # of a family, at least
    linger: float = 0.5  # after the last answer, which still belong to a run
    rest: float = 10.0  # after it, before its memory is looked at
    control: bool = True
    again: int = 2  # further pairs where the polite ones were worse off: one pair may be chance
    most: int = 0  # inputs of a family; 0: all


class Thrown(msgspec.Struct, frozen=True):
    """What one run of a sender brought."""

    outcomes: list[Outcome]
    figures: Figures
    loop: Reading


class Trial:
    """A node under trial with its polite clients. A node that died is started again for the next family."""

    def __init__(self, node: ProbedNode, sender: Sender, pace: Pace, targets: Targets, seed: int, only: str) -> None:
        self.node = node
        self.sender = sender
        self.pace = pace
        self.targets = targets
        self.seed = seed
        self.only = only  # a part of inputs' names
        self.ground = Ground()
        self._polite = Polite(node.url)

    @asynccontextmanager
    async def company(self) -> AsyncIterator[None]:
        """Make the ground, and let the polite clients talk for as long as the block lasts."""
        self.ground = await make_ground(self.node.port)
        talking = asyncio.create_task(self._polite.run())
        await asyncio.sleep(self.pace.warm)
        try:
            yield
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    async def family(self, name: str) -> Row:
        """Try it."""
        before = self.node.used()
        control: list[Thrown] = []
        hostile: list[Thrown] = []
        while not hostile or (len(hostile) <= self.pace.again and self._is_worse(hostile, control)):
            if self.pace.control:
                control.append(await self._throw(name, control=True))
            hostile.append(await self._throw(name, control=False))
        await asyncio.sleep(self.pace.rest)
        alive, after = await self.node.alive(), self.node.used()
        row = Row(
            name,
            [outcome for run in hostile for outcome in run.outcomes],
            sum(outcome.size for run in hostile for outcome in run.outcomes),
            max((run.loop for run in hostile), key=lambda loop: loop.callback),
            max((run.loop for run in control), key=lambda loop: loop.callback, default=Reading()),
            [run.figures for run in hostile],
            [run.figures for run in control],
            after.serving_rss - before.serving_rss if alive else 0,
            after.engine_rss - before.engine_rss if alive else 0,
            alive,
            self.node.errors(),
        )
        if not alive:
            await self._revive()
        return row

    def _is_worse(self, hostile: list[Thrown], control: list[Thrown]) -> bool:
        if self.targets.polite is None or not control:
            return False
        more = max(worse([run.figures for run in hostile], [run.figures for run in control]))
        return self.targets.polite < more < self.targets.polite * NO_CHANCE

    async def _throw(self, name: str, *, control: bool) -> Thrown:
        """Let a sender do its work, and look at the loop and at the polite clients meanwhile."""
        order = Order(
            name, self.node.port, self.ground, self.seed, self.only, self.pace.most, self.pace.seconds, control
        )
        await self.sender.prepare(order)
        await self._polite.settled(SETTLE)
        await self.node.probe("reset")
        began = perf_counter()
        outcomes = await self.sender.throw()
        await asyncio.sleep(self.pace.linger)
        loop = await self.node.probe("read")
        figures = self._polite.figures(began, perf_counter() - self.pace.linger)
        return Thrown(outcomes, figures, loop)

    async def _revive(self) -> None:
        await self.node.program.end()
        await self.node.start()
        self.ground = await make_ground(self.node.port)
