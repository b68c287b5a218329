"""A server with known timing, and a client process' part in this one."""

import time
from collections.abc import AsyncIterator, Sequence

import pytest

from bench.load.connect import opener
from bench.load.driver import Driver, SendRules
from bench.load.lengths import Length
from bench.load.options import Options
from bench.load.plan import Ask, Session
from bench.load.pool import Pool
from bench.load.sample import Sample
from bench.load.target import TARGETS, RequestDefaults
from tests.bench.load.fake import Fake, fake

ALL = ("ws", "sse", "responses", "chat")


@pytest.fixture
async def server() -> AsyncIterator[Fake]:
    async with fake() as running:
        yield running


def options(server: Fake, target: str, **changes: object) -> Options:
    """A run against it."""
    return Options(target, server.url(target), "fake", output_tokens=Length("fixed", 6), **changes)  # type: ignore[arg-type]


def sessions(count: int, turns: int = 1) -> list[Session]:
    return [Session(tuple(Ask(f"{index}.{turn}", 6) for turn in range(turns))) for index in range(count)]


class Sending:
    """Sends through the real client, in this process."""

    def __init__(self, server: Fake, target: str, **changes: object) -> None:
        self.options = options(server, target, **changes)
        rules = SendRules(
            TARGETS[target], RequestDefaults("fake"), self.options.think, self.options.timeout, self.options.duration
        )
        self.pool = Pool(opener(self.options))
        self.driver = Driver(self.pool, rules)
        self.began = 0.0

    async def closed(self, sessions: Sequence[Session], concurrency: int = 1) -> list[Sample]:
        """What a closed loop sees."""
        self.began = time.perf_counter()
        await self.driver.closed_loop(sessions, self.began, concurrency)
        self.pool.close()
        return self.driver.samples

    async def open(self, sessions: Sequence[Session]) -> list[Sample]:
        """What an open loop sees."""
        self.began = time.perf_counter()
        await self.driver.open_loop(sessions, self.began)
        self.pool.close()
        return self.driver.samples
