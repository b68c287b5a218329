"""The node that is tried: `python -m server` under a probe, and a Redis, each a process of its own."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from bench.faults import http
from bench.faults.cluster import HOST, START, free_ports
from bench.faults.process import NotReady, Program
from bench.faults.redis import Redis
from bench.hostile.probe import Reading, ask
from bench.processes import ResourceUsage, usage

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0  # seconds in which a node that lives says so


class ProbedNode:
    """Its ports and files, and what can be asked of it from outside."""

    def __init__(self, folder: Path, port: int, engine: str, redis: Redis, flags: Sequence[str]) -> None:
        self.port = port
        self.url = f"ws://{HOST}:{port}/v1/responses"
        self.engine = engine
        self._folder = folder
        self._output = folder / "output"
        self._probe = folder / "probe"
        folder.mkdir()
        command = [sys.executable, "-m", "bench.hostile.probed", str(self._probe), "--engine", engine]
        command += ["--host", HOST, "--port", str(port), "--data-dir", str(folder), "--log-format", "json"]
        self.program = Program(f"node-{engine}", [*command, "--redis-url", redis.url, *flags], self._output, ROOT)
        self._read = 0  # bytes of the output that were looked through

    async def start(self) -> None:
        """Start it and wait until it admits turns. Raises NotReady."""
        self._probe.unlink(missing_ok=True)
        await self.program.start()
        await self.program.ready(lambda: http.ok(HOST, self.port, "/readyz"), START[self.engine])

    async def alive(self) -> bool:
        """Whether the same process still admits turns."""
        try:
            await self.program.ready(lambda: http.ok(HOST, self.port, "/readyz"), PATIENCE)
        except NotReady:
            return False
        return True

    def used(self) -> ResourceUsage:
        """CPU and memory of its processes; nothing once it is gone."""
        process = self.program.process
        return usage([process.pid]) if process is not None and process.returncode is None else ResourceUsage()

    async def probe(self, word: str) -> Reading:
        """`read` or `reset`; an empty reading of a node that is gone. Raises OSError if a living one is silent."""
        try:
            return await asyncio.to_thread(ask, self._probe, word, PATIENCE)
        except OSError:
            if self.program.process is not None and self.program.process.returncode is None:
                raise
            return Reading()

    def errors(self) -> list[str]:
        """Lines of that level since the last call, in a few words."""
        with self._output.open("rb") as output:
            output.seek(self._read)
            lines = output.read().splitlines()
            self._read = output.tell()
        return [said for said in map(_error, lines) if said]


def _error(line: bytes) -> str:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(entry, dict) or entry.get("level") not in {"error", "critical"}:
        return ""
    trace = str(entry.get("exception") or entry.get("error") or "").strip().splitlines()
    return f"{entry.get('event')}: {trace[-1] if trace else ''}"[:160]


@asynccontextmanager
async def probed_node(engine: str, *, keep: bool = False, flags: Sequence[str] = ()) -> AsyncIterator[ProbedNode]:
    """One that is ready; afterwards nothing of it is left, but its output where `keep` says so. Raises NotReady."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    ports = free_ports(2)
    redis = Redis(folder / "redis", ports[0])
    node = ProbedNode(folder / "node", ports[1], engine, redis, flags)
    try:
        await redis.start()
        await node.start()
        yield node
    finally:
        await node.program.end(signal.SIGTERM, 20.0)
        await redis.program.end(signal.SIGTERM)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
