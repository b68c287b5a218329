"""`python -m bench.scale streams` and `nodes`: how many streams one process carries, and what a second node adds.

`streams`: the scripted engine says a token of each answer every 1/rate seconds, so it is known when each is due. What a
token comes later is the server's (and this client's) doing. A due time counts from the question, so that the delay
includes admission; it is the upper bound of what the server adds.
`nodes`: tokens per second of one node, and of two that share a Redis. Without `--slots` there is no pace, and
processors are the limit. With `--slots` an engine gives so many answers at a time, `--rate` tokens per second each, and
is the limit itself, as where a node has a GPU. What is seen then is whether anything that nodes share holds the second
one up.
"""

import argparse
import asyncio
import contextlib
import math
import os
import re
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import uvloop

from bench.launch import POLL, NotReady, Running, free_port, python, scratch, started
from bench.load.lengths import Length
from bench.load.measure import measure
from bench.load.metrics import percentile
from bench.load.observer import TurnFailed, TurnObserver
from bench.load.options import Options
from bench.load.sample import Sample
from bench.load.sockets import Lane, open_lanes
from bench.load.workers import Progress, Run
from bench.pin import pin, pinned
from bench.processes import per_token, usage

PIECE = re.compile(r" ?[bdfgklmnprstvz][aeiou]|\n|[^\x00-\x7f]")  # what the scripted engine says
CHARACTER = 4  # tokens of the longest one
SETTLE = 1.0  # seconds over which the streams begin, so that their tokens do not fall together: all turns fall into one
BOUND = 25.0  # milliseconds
FASTEST = 200_000  # tokens per second: more than one node can say


class Delays(msgspec.Struct):
    """Seconds by which tokens came later than they were due."""

    asked: list[float] = []  # counted from the question
    best: list[float] = []  # counted from the least delayed token of the same answer


def ends(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """For each piece of text that can be seen: the event that brought it, and the index of its last token.

    A character of several bytes is several tokens, and is seen with the last. Raises ValueError for other text.
    """
    index = -1
    for event, text in enumerate(texts):
        pieces = PIECE.findall(text)
        if sum(map(len, pieces)) != len(text):
            raise ValueError(f"this is not what the scripted engine says: {text!r}")
        for piece in pieces:
            index += 1 if piece.isascii() else len(piece.encode())
            yield event, index


def delays(sample: Sample, texts: Sequence[str], rate: float) -> Delays:
    """Of one answer. Raises ValueError where its text does not have as many tokens as its usage says.

    A forced length may cut the answer's last character; its first bytes are tokens that are never seen.
    """
    late = [sample.stamps[event] - sample.sent - index / rate for event, index in ends(texts)]
    last = max((index for _, index in ends(texts)), default=-1) + 1
    if not 0 <= sample.output_tokens - last < CHARACTER:
        raise ValueError(f"{last} tokens were seen of {sample.output_tokens}")
    least = min(late, default=0.0)
    return Delays(late, [each - least for each in late])


class StreamLoad:
    """Streams that ask again as soon as they are answered."""

    def __init__(self, rate: float, tokens: int, settle: float = SETTLE) -> None:
        self.rate = rate
        self.tokens = tokens
        self.settle = settle
        self.seen = Delays([], [])
        self.count = 0  # tokens
        self.errors: list[str] = []

    async def run(self, lanes: Sequence[Lane], seconds: float) -> None:
        """Until the time is over; answers that are under way are still read."""
        until = perf_counter() + seconds
        await asyncio.gather(*(self._stream(lane, index / len(lanes), until) for index, lane in enumerate(lanes)))

    async def _stream(self, lane: Lane, offset: float, until: float) -> None:
        await asyncio.sleep(offset * self.settle)
        number = 0
        while perf_counter() < until and lane.usable:
            await self._turn(lane, f"{offset} {number} [tokens={self.tokens}]")
            number += 1

    async def _turn(self, lane: Lane, text: str) -> None:
        now = perf_counter()
        observer = TurnObserver(Sample(now, now, []))
        body = {"type": "response.create", "input": text, "store": False}
        try:
            async with asyncio.timeout(self.tokens / self.rate + 60):
                await lane.ask(body | {"max_output_tokens": self.tokens, "ignore_eos": True}, observer)
            self._keep(observer)
        except (TurnFailed, TimeoutError, ValueError) as error:
            lane.close()
            self.errors.append(str(error) or type(error).__name__)

    def _keep(self, observer: TurnObserver) -> None:
        if observer.sample.error is not None:
            raise TurnFailed(observer.sample.error)
        found = delays(observer.sample, observer.texts, self.rate)
        self.seen.asked += found.asked
        self.seen.best += found.best
        self.count += observer.sample.output_tokens


async def streams(url: str, pid: int, count: int, given: argparse.Namespace) -> str:
    """One line about so many streams."""
    lanes = [lane for _ in range(count) for lane in await open_lanes(f"{url}/v1/responses", 1, {})]
    load = StreamLoad(given.rate, given.tokens, given.settle)
    before = usage([pid])
    await load.run(lanes, given.seconds)
    costs = per_token(before, usage([pid]), load.count)
    for lane in lanes:
        lane.close()
    return line(count, load, costs["server_cpu_us_per_token"])


def line(count: int, load: StreamLoad, cost: float) -> str:
    """The summary line of a `streams` run."""
    asked = [each * 1000 for each in load.seen.asked]
    best = [each * 1000 for each in load.seen.best]
    late = percentile(asked, 99)
    word = "within" if late <= BOUND and not load.errors else "ABOVE"
    wrong = f", {len(load.errors)} failed ({load.errors[0]})" if load.errors else ""
    return (
        f"{count} streams, {load.count} tokens: added delay p50 {percentile(asked, 50):.1f} p99 {late:.1f} max "
        f"{max(asked, default=0):.1f} ms ({word} {BOUND:g} ms), against the answer's best token p99 "
        f"{percentile(best, 99):.1f} ms, server {cost:.1f} us/token{wrong}"
    )


# -- nodes -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def node(folder: Path, name: str, flags: Sequence[str]) -> Iterator[tuple[str, Running]]:
    """A scripted node; its address. Raises NotReady."""
    port = free_port()
    where = ["--port", str(port), "--data-dir", str(folder / name), "--engine", "scripted", "--log-level", "WARNING"]
    with started(python({}, "-m", "server", *where, *flags), folder) as running:
        running.wait_ready(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}", running


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[tuple[str, Running]]:
    """A Redis for several nodes, with an append-only file as a node's own has; its address."""
    path = folder / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    with started([*words, "--appendonly", "yes", "--appendfsync", "everysec"], folder) as running:
        deadline = perf_counter() + 20
        while not path.exists():
            if perf_counter() > deadline:
                raise NotReady("the Redis did not start")
            time.sleep(POLL)
        yield f"unix://{path}", running


class Part(msgspec.Struct, frozen=True):
    """One node's part of a run. Shares are of a core."""

    speed: float  # tokens per second
    node: float
    redis: float  # all of it, whoever called
    client: float


def nodes(count: int, given: argparse.Namespace, flags: Sequence[str]) -> list[Part]:
    """What so many nodes do together, each on a core of its own where cores are named. Raises TurnFailed."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        address, store = stack.enter_context(redis(folder))
        paced = ["--scripted-rate", f"{given.rate:g}", "--scripted-slots", str(given.slots)]
        shared = ["--redis-url", address, *(paced if given.slots else ["--scripted-rate", "0"])]
        loads = []
        for index in range(count):
            url, running = stack.enter_context(node(folder, f"node{index}", [*shared, *flags]))
            if given.cores:
                pin(running.pid, {given.cores[index]})
            loads.append(_load(url, (running.pid, store.pid), given))
        return [part(result, run, given) for result, run in asyncio.run(_at_once(loads))]


async def _at_once(loads: Sequence[Options]) -> list[tuple[dict[str, Any], Run]]:
    """Each load on its node, at the same time."""
    return await asyncio.gather(*(asyncio.to_thread(measure, load, _silent) for load in loads))


def part(result: Mapping[str, Any], run: Run, given: argparse.Namespace) -> Part:
    """What a run says of its node. Raises TurnFailed where an answer did: a node that refuses is quick.

    With slots only the time counts in which turns were sent, since an engine runs empty in the rest.
    """
    errors = [sample.error for sample in run.samples if sample.error is not None]
    if errors:
        raise TurnFailed(errors[0])
    speed = float(result["output_throughput"])
    if given.slots:
        speed = tokens_by(run.samples, run.began + given.seconds) / given.seconds
    each = speed / 1e6
    store = result["store_cpu_us_per_token"] * each
    client = result["client_cpu_share"] / result["output_throughput"] * speed
    return Part(speed, result["server_cpu_us_per_token"] * each - store, store, client)


def tokens_by(samples: Sequence[Sample], until: float) -> float:
    """Tokens that arrived by then; an answer's are spread evenly over its events."""
    shown = [each for each in samples if each.stamps]
    return sum(each.output_tokens * bisect_right(each.stamps, until) / len(each.stamps) for each in shown)


def nodes_summary(parts: Sequence[Part], given: argparse.Namespace) -> str:
    """One node or several in words. Redis is seen by each of the loads, at about the same time."""
    room = f" of {len(parts) * most(given):,.0f}" if given.slots else ""
    cores = " ".join(f"{each.node:.0%}" for each in parts)
    clients = " ".join(f"{each.client:.0%}" for each in parts)
    store = max(each.redis for each in parts)
    speed = sum(each.speed for each in parts)
    return f"{speed:,.0f}{room} tokens/s (of a core: nodes {cores}, Redis {store:.0%}, clients {clients})"


def most(given: argparse.Namespace) -> float:
    """Tokens per second of a full engine: the first token of an answer comes at once, so one less is waited for."""
    return float(given.slots * given.rate * given.tokens / (given.tokens - 1))


def _load(url: str, pids: tuple[int, ...], given: argparse.Namespace) -> Options:
    return Options(
        "ws",
        url,
        pids=pids,
        concurrency=given.streams[0],
        sessions=enough(given.seconds, given.tokens),
        duration=given.seconds,
        warmup=given.slots // 2 or given.streams[0],
        output_tokens=Length("fixed", given.tokens),
    )


def enough(seconds: float, tokens: int) -> int:
    """So many answers that no node gives them in this time: all are drawn and handed over before the start."""
    return math.ceil(seconds * FASTEST / tokens)


def _silent(progress: Progress) -> None:
    pass


def main(words: Sequence[str]) -> int:
    """Run the measurement and print its result."""
    given, flags = _parse(words)
    if given.what == "nodes":
        _compare(given, flags)
        return 0
    room = ["--scripted-rate", f"{given.rate:g}", "--scripted-slots", str(max(given.streams))]
    with pinned(_others(given.cores)), scratch() as folder, node(folder, "node", [*room, *flags]) as (url, running):
        if given.cores:
            pin(running.pid, {given.cores[0]})  # itself, not its Redis
        for count in given.streams:
            print(uvloop.run(streams(url, running.pid, count, given)), flush=True)
    return 0


def _others(taken: Sequence[int]) -> str:
    """The cores that are left for everything else, where some are named."""
    return ",".join(map(str, os.sched_getaffinity(0) - set(taken))) if taken else ""


def _compare(given: argparse.Namespace, flags: Sequence[str]) -> None:
    ratios = []
    for _ in range(given.rounds):
        one, two = nodes(1, given, flags), nodes(2, given, flags)
        ratios.append(sum(each.speed for each in two) / one[0].speed)
        print(f"one node {nodes_summary(one, given)}, two {nodes_summary(two, given)}: {ratios[-1]:.2f}x", flush=True)
    limit = "engines are the limit" if given.slots else "processors are the limit"
    print(f"N15  two nodes against one, {limit}: {sorted(ratios)[len(ratios) // 2]:.2f}x (target >= 1.95x)")


def _parse(words: Sequence[str]) -> tuple[argparse.Namespace, Sequence[str]]:
    """The command line; what follows after `--` goes to the nodes."""
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("what", choices=("streams", "nodes"))
    parser.add_argument("--streams", type=_numbers, default="100,200,400,800", help="one or several numbers")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=30.0, help="tokens per second of each stream")
    parser.add_argument("--tokens", type=int, default=150, help="of an answer")
    parser.add_argument("--settle", type=float, default=SETTLE, help="streams: seconds over which they begin")
    parser.add_argument("--rounds", type=int, default=5, help="nodes: of one and two")
    parser.add_argument("--slots", type=int, default=0, help="nodes: answers at a time of each; 0: no pace either")
    parser.add_argument("--cores", type=_numbers, default=[], help="of each node, as 0,1")
    return parser.parse_args(words[:at]), words[at + 1 :]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
