"""Nodes, the Redis they share, and HAProxy in front: the testbed of all fault runs, on loopback."""

import asyncio
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.faults import http
from bench.faults.process import NotReady, Program, find_program
from bench.faults.redis import OwnRedis, Redis

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START = {"scripted": 60.0, "vllm": 300.0}  # seconds that an engine's start may take
DRAIN = 60.0  # seconds that a node may take to end

# Sockets live long: the tunnel's timeout is an hour, and the node with the fewest gets the next. A node that is not
# ready gets no new sockets and keeps those it has; one that does not answer at all loses them where `cut` says so.
CONFIGURATION = """\
defaults
  mode http
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
frontend all
  bind {host}:{port}
  default_backend nodes
backend nodes
  balance leastconn
  option httpchk GET /readyz
  http-check expect status 200
  timeout check 1s
  default-server inter 200ms fall 1 rise 1{cut}
{servers}
"""


class Node:
    """`python -m server` in a process."""

    def __init__(self, name: str, folder: Path, port: int, engine: str, flags: Sequence[str]) -> None:
        self.name = name
        self.port = port
        self.engine = engine
        self.url = f"ws://{HOST}:{port}/v1/responses"
        folder.mkdir()
        command = [sys.executable, "-m", "server", "--engine", engine, "--host", HOST, "--port", str(port)]
        command += ["--data-dir", str(folder), "--log-format", "json", *flags]
        self.program = Program(name, command, folder / "output", ROOT)

    async def start(self) -> None:
        """Start it and wait until it admits turns. Raises NotReady."""
        await self.program.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until it admits turns. Raises NotReady."""
        await self.program.ready(lambda: http.ok(HOST, self.port, "/readyz"), START[self.engine])

    async def running(self) -> int:
        """Turns in its engine. Raises OSError, TimeoutError."""
        _, body = await http.get(HOST, self.port, "/metrics")
        lines = [line for line in body.decode().splitlines() if line.startswith("throughline_running")]
        return round(float(lines[0].rpartition(" ")[2])) if lines else 0


class Balancer:
    """HAProxy, which spreads sockets over the nodes."""

    def __init__(self, folder: Path, port: int, nodes: Sequence[Node], *, cut: bool) -> None:
        self.port = port
        self.url = f"ws://{HOST}:{port}/v1/responses"
        path = find_program("haproxy")
        if path is None:
            raise NotReady("there is no haproxy on this machine")
        folder.mkdir()
        servers = "\n".join(f"  server {node.name} {HOST}:{node.port} check" for node in nodes)
        down = " on-marked-down shutdown-sessions" if cut else ""
        (folder / "haproxy.cfg").write_text(CONFIGURATION.format(host=HOST, port=port, cut=down, servers=servers))
        command = [path, "-db", "-f", str(folder / "haproxy.cfg")]
        self.program = Program("haproxy", command, folder / "output", folder)

    async def start(self) -> None:
        """Start it and wait until it reaches a node."""
        await self.program.start()
        await self.program.ready(lambda: http.ok(HOST, self.port, "/readyz"), 20.0)


class Cluster:
    """The programs of a fault run: Redis, nodes and HAProxy."""

    def __init__(self, redis: Redis, nodes: list[Node], balancer: Balancer, folder: Path) -> None:
        self.redis = redis
        self.nodes = nodes
        self.balancer = balancer
        self.folder = folder


@asynccontextmanager
async def cluster(
    count: int, *, engine: str = "scripted", rate: int = 30, cut: bool = False, keep: bool = False
) -> AsyncIterator[Cluster]:
    """So many nodes, ready; afterwards nothing of them is left, but their output where `keep` says so."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    ports = free_ports(count + 2)
    flags = ["--scripted-rate", str(rate)] if engine == "scripted" else []
    redis = Redis(folder / "redis", ports[0])
    flags += ["--redis-url", redis.url]
    nodes = [Node(f"node{at}", folder / f"node{at}", ports[at + 2], engine, flags) for at in range(count)]
    balancer = Balancer(folder / "haproxy", ports[1], nodes, cut=cut)
    async with AsyncExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for program in (redis.program, *(node.program for node in nodes), balancer.program):
            stack.push_async_callback(_terminate, program)
        await redis.start()
        for node in nodes:  # one after the other: a real engine wants all cores while it starts
            await node.start()
        await balancer.start()
        yield Cluster(redis, nodes, balancer, folder)


@asynccontextmanager
async def alone(*, rate: int = 30, keep: bool = False) -> AsyncIterator[Cluster]:
    """One node with a Redis of its own, ready."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    ports = free_ports(2)
    node = Node("node0", folder / "node0", ports[0], "scripted", ["--scripted-rate", str(rate)])
    balancer = Balancer(folder / "haproxy", ports[1], [node], cut=False)
    async with AsyncExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for program in (node.program, balancer.program):
            stack.push_async_callback(_terminate, program)
        await node.start()
        await balancer.start()
        yield Cluster(OwnRedis(folder / "node0"), [node], balancer, folder)


async def _terminate(program: Program) -> None:
    program.signal(signal.SIGCONT)
    await program.end(signal.SIGTERM if program.name == "redis-server" else signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    listeners = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


async def versions() -> list[str]:
    """What the other programs say of themselves."""
    said = []
    for name, flag in (("redis-server", "--version"), ("haproxy", "-v")):
        path = find_program(name)
        if path is not None:
            process = await asyncio.create_subprocess_exec(path, flag, stdout=asyncio.subprocess.PIPE)
            said.append((await process.communicate())[0].decode().partition("\n")[0])
    return said
