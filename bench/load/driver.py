"""Sends sessions and collects their samples: at planned times (open loop), or as many at once as asked (closed)."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import msgspec

from bench.load.observer import TurnFailed, TurnObserver
from bench.load.plan import Ask, Session
from bench.load.pool import Channel, Pool
from bench.load.sample import Sample
from bench.load.target import Conversation, RequestDefaults, Target


class SendRules(msgspec.Struct, frozen=True):
    """What all turns of a run are sent with."""

    target: Target
    defaults: RequestDefaults
    think: float = 0.0  # seconds between an answer and the next turn
    timeout: float = 120.0  # seconds for one turn
    duration: float = 0.0  # seconds after which nothing new is sent; 0: no limit


class Driver:
    """One client process' part of a run."""

    def __init__(self, pool: Pool, rules: SendRules) -> None:
        self.pool = pool
        self.rules = rules
        self.samples: list[Sample] = []
        self.began = 0.0

    async def open_loop(self, sessions: Sequence[Session], began: float) -> None:
        """Send each session at its time, however the earlier ones fare."""
        self.began = began
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                intended = began + (session.at or 0.0)
                if self._over(intended):
                    break
                await sleep_until(intended)
                group.create_task(self._session(session, intended))

    async def closed_loop(self, sessions: Sequence[Session], began: float, concurrency: int) -> None:
        """Keep `concurrency` sessions under way until all are done."""
        self.began = began
        rest = iter(sessions)
        await asyncio.gather(*(self._worker(rest) for _ in range(concurrency)))

    async def _worker(self, rest: Iterator[Session]) -> None:
        for session in rest:
            now = time.perf_counter()
            if self._over(now):
                return
            await self._session(session, now)

    def _over(self, at: float) -> bool:
        return bool(self.rules.duration) and at - self.began >= self.rules.duration

    async def _session(self, session: Session, intended: float) -> None:
        """Its turns in order, on one channel; the first that fails ends it."""
        conversation = Conversation(self.rules.target)
        asked = time.perf_counter()
        try:
            channel = await self.pool.acquire()
        except (OSError, TurnFailed) as error:
            now = time.perf_counter()
            self.samples.append(Sample(intended, now, ended=now, error=f"connect {type(error).__name__}"))
            return
        connecting = time.perf_counter() - asked
        try:
            for turn, ask in enumerate(session.asks):
                await sleep_until(intended)
                sample = Sample(intended, 0.0, [], turn=turn, connecting=0.0 if turn else connecting)
                await self._turn(channel, conversation, ask, sample)
                if sample.error is not None:
                    return
                intended = sample.ended + self.rules.think
        finally:
            self.pool.release(channel)

    async def _turn(self, channel: Channel, conversation: Conversation, ask: Ask, sample: Sample) -> None:
        observer = TurnObserver(sample)
        try:
            async with asyncio.timeout(self.rules.timeout):
                await channel.ask(conversation.body(ask, self.rules.defaults), observer)
        except TimeoutError:
            channel.close()
            observer.fail("timeout", time.perf_counter())
        except TurnFailed as error:
            observer.fail(error.kind, time.perf_counter())
        sample.sent = sample.sent or sample.ended
        self.samples.append(sample)
        conversation.said(ask, observer.text, observer.id)


async def sleep_until(at: float) -> None:
    """Return at a point of the clock, or at once where it is past."""
    if (seconds := at - time.perf_counter()) > 0:
        await asyncio.sleep(seconds)
