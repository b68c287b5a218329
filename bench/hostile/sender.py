"""The sender's process, as the run that commands it sees it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bench.faults.cluster import ROOT
from bench.hostile.outcome import Outcome
from bench.hostile.throw import Order

LINE = 1 << 28  # bytes of the longest answer


class Sender:
    """Builds what an order asks for, and throws it when it is told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def prepare(self, order: Order) -> None:
        """Return when everything is built."""
        await self._say(msgspec.json.encode(order))

    async def throw(self) -> list[Outcome]:
        """Send it; what became of it."""
        return msgspec.json.decode(await self._say(b"throw"), type=list[Outcome])

    async def _say(self, line: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + b"\n")
        return await self._process.stdout.readline()


@asynccontextmanager
async def running_sender() -> AsyncIterator[Sender]:
    """One that lives as long as the block."""
    pipe = asyncio.subprocess.PIPE
    words = [sys.executable, "-m", "bench.hostile.throw"]
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdin=pipe, stdout=pipe, limit=LINE)
    try:
        yield Sender(process)
    finally:
        process.kill()
        await process.wait()
