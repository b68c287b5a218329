"""`python -m bench.connections idle` and `storm`: what open sockets cost, and how long it takes until all are back.

Both start a node of their own with the scripted engine and an API key, unless `--url` and `--pid` name one.
"""

import argparse
import asyncio
import contextlib
import random
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from time import perf_counter

import msgspec
import uvloop

from bench.launch import free_port, python, scratch, started
from bench.load.metrics import percentile
from bench.processes import entry
from bench.wire import Wire, type_of

KEY = "bench-key"
AT_ONCE = 100  # handshakes under way while sockets are opened for later
BUSY = 32  # questions under way while answers are made that will be resumed
WARM = 10  # memory is first looked at when this part of the sockets is open
QUIET = 3.0  # seconds for a node to settle before its memory is looked at
TIMEOUT = 120.0  # seconds
ENDS = {b"response.completed", b"response.incomplete", b"response.failed", b"error"}
HEADERS = {"authorization": f"Bearer {KEY}"}


class Node(msgspec.Struct, frozen=True):
    """The node that is measured."""

    url: str  # of its socket
    pid: int

    @property
    def rss(self) -> int:
        """Bytes of the node's own process."""
        found = entry(self.pid)
        return found.rss if found else 0


class Asked(msgspec.Struct, frozen=True):
    """A turn that clients will resume."""

    id: str
    top: int  # its last event's number


# -- idle sockets ----------------------------------------------------------------------------------------------------


async def idle(node: Node, count: int) -> str:
    """Open sockets that do nothing; what each costs the node."""
    sockets: list[Wire] = []
    warm = count // WARM
    async with closing(sockets):
        await open_all(node.url, warm, sockets)
        await asyncio.sleep(QUIET)
        before = node.rss
        took = await open_all(node.url, count - warm, sockets)
        await asyncio.sleep(QUIET)
        each = (node.rss - before) / (count - warm) / 1024
        alive = sum(not socket.over.done() for socket in sockets)
        return (
            f"{alive} of {count} sockets open, {each:.1f} KiB each "
            f"({before / 2**20:.0f} MiB with {warm}, {node.rss / 2**20:.0f} MiB with all), {took:.1f} s to open"
        )


async def open_all(url: str, count: int, sockets: list[Wire]) -> float:
    """Open so many more, some at once; the seconds that took. Raises OSError, TimeoutError."""
    began = perf_counter()
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            wire = Wire(_ignore)
            await wire.open(url, HEADERS, TIMEOUT)
            sockets.append(wire)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return perf_counter() - began


def _ignore(payload: bytes, arrived: float) -> None:
    pass


# -- a storm of resumes ----------------------------------------------------------------------------------------------


class Resuming:
    """One client that comes back: from the call to the first event that it has not seen, and to the last."""

    def __init__(self, asked: Asked, after: int) -> None:
        self.asked = asked
        self.after = after
        self.began = self.first = self.last = 0.0
        self.error: str | None = None
        self._expected = after + 1
        self._done = asyncio.get_running_loop().create_future()

    async def run(self, url: str) -> None:
        """Connect, resume, and read to the end."""
        wire = Wire(self._text)
        self.began = perf_counter()
        try:
            await wire.open(f"{url}?resume={self.asked.id}&starting_after={self.after}", HEADERS, TIMEOUT)
            wire.over.add_done_callback(self._over)
            async with asyncio.timeout(TIMEOUT):
                await asyncio.wait({self._done})
            wire.abort()
        except (OSError, TimeoutError) as error:
            self.error = self.error or type(error).__name__

    def _text(self, payload: bytes, arrived: float) -> None:
        kind = type_of(payload)
        if kind.startswith(b"throughline:") or self._done.done():
            return
        if number(payload) != self._expected:
            self.error = self.error or "wrong number"
        self._expected += 1
        self.first = self.first or arrived
        if kind in ENDS:
            self.last = arrived
            self.error = "error event" if kind == b"error" else self.error
            self._done.set_result(None)

    def _over(self, code: asyncio.Future[int]) -> None:
        if not self._done.done():
            self.error = f"closed {code.result()}"
            self._done.set_result(None)


def number(payload: bytes) -> int:
    """An event's place in its turn."""
    at = payload.find(b'"sequence_number":') + 18
    end = at
    while payload[end : end + 1].isdigit():
        end += 1
    return int(payload[at:end] or b"-1")


async def storm(node: Node, clients: int, turns: int, tokens: int, seed: int = 0) -> str:
    """Everybody comes back at once, each somewhere in the middle of an answer."""
    asked = await ask(node.url, turns, tokens)
    rng = random.Random(seed)
    crowd = [Resuming(each, rng.randrange(each.top)) for each in rng.choices(asked, k=clients)]
    await asyncio.gather(*(client.run(node.url) for client in crowd))
    return storm_summary(crowd, turns)


async def ask(url: str, turns: int, tokens: int) -> list[Asked]:
    """Let a node answer so many questions; what came of them. Raises OSError, TimeoutError."""
    limit = asyncio.Semaphore(BUSY)

    async def one(index: int) -> Asked:
        async with limit:
            return await _one(url, f"{index} [tokens={tokens}]")

    return await asyncio.gather(*map(one, range(turns)))


async def _one(url: str, text: str) -> Asked:
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def on_text(payload: bytes, arrived: float) -> None:
        if type_of(payload) in ENDS and not done.done():
            done.set_result(payload)

    wire = Wire(on_text)
    await wire.open(url, HEADERS, TIMEOUT)
    wire.send(msgspec.json.encode({"type": "response.create", "input": text}))
    async with asyncio.timeout(TIMEOUT):
        last = msgspec.json.decode(await done)
    wire.abort()
    return Asked(last["response"]["id"], last["sequence_number"])


def storm_summary(crowd: Sequence[Resuming], turns: int) -> str:
    """A summary of the reconnects in one line."""
    good = [client for client in crowd if client.error is None]
    began = min(client.began for client in crowd)
    firsts = [client.first - began for client in good]
    lasts = [client.last - began for client in good]
    errors = Counter(client.error for client in crowd if client.error is not None)
    wrong = "".join(f", {count} x {kind}" for kind, count in errors.items())
    events = sum(client.asked.top - client.after for client in good)
    return (
        f"{len(good)} of {len(crowd)} resumed{wrong}; first event after p50 {percentile(firsts, 50):.2f} "
        f"p99 {percentile(firsts, 99):.2f} max {max(firsts, default=0):.2f} s, all {events} events of {turns} answers "
        f"after {max(lasts, default=0):.2f} s"
    )


# -- the node --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_node(*flags: str) -> Iterator[Node]:
    """One of our own, for as long as the block lasts. Raises NotReady."""
    port = free_port()
    with scratch() as folder:
        fixed = ["--engine", "scripted", "--scripted-rate", "0", "--api-keys", f"bench:{KEY}", "--log-level", "WARNING"]
        where = ["--port", str(port), "--data-dir", str(folder / "data")]
        with started(python({}, "-m", "server", *fixed, *where, *flags), folder) as running:
            running.wait_ready(f"http://127.0.0.1:{port}/readyz")
            yield Node(f"ws://127.0.0.1:{port}/v1/responses", running.pid)


@contextlib.asynccontextmanager
async def closing(sockets: list[Wire]) -> AsyncIterator[None]:
    """Abort all sockets when the block ends."""
    try:
        yield
    finally:
        for socket in sockets:
            socket.abort()


def main(words: Sequence[str]) -> int:
    """Measure, and say it in one line."""
    parser = argparse.ArgumentParser(prog="python -m bench.connections", description=__doc__)
    parser.add_argument("what", choices=("idle", "storm"))
    parser.add_argument("--sockets", type=int, default=10_000, help="idle sockets, or clients that come back")
    parser.add_argument("--turns", type=int, default=500, help="storm: different answers that are resumed")
    parser.add_argument("--tokens", type=int, default=100, help="storm: of each")
    parser.add_argument("--url", default="", help=f"a node's socket; its API key must be {KEY}")
    parser.add_argument("--pid", type=int, default=0, help="that node's process")
    given = parser.parse_args(words)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    theirs = contextlib.nullcontext(Node(given.url, given.pid))
    with theirs if given.url else a_node() as node:
        work = (
            idle(node, given.sockets) if given.what == "idle" else storm(node, given.sockets, given.turns, given.tokens)
        )
        print(uvloop.run(work))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
