"""What a turn costs the longer its conversation is: calls to the store, bytes that Redis writes, CPU.

Conversations take turns, one at a time, so that no call is shared. What a node does anyway, such as saying that it
lives, is measured first and taken off.

A model is sent all that was said before: reading and rendering that grows with the conversation, and is measured apart,
by having the input tokens of the next question counted. The server does the same work for that as for a turn before it
is admitted, and nothing else that grows. What the same request costs without a history is taken off.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from itertools import cycle, islice, pairwise
from time import perf_counter
from urllib.parse import urlsplit

import hiredis
import msgspec

from bench.launch import scratch
from bench.load.observer import TurnFailed, TurnObserver
from bench.load.sample import Sample
from bench.load.sockets import Lane, open_lanes
from bench.processes import usage
from bench.scale import node, redis

IDLE = 3.0  # seconds
COUNTS = 100  # requests at each place of the curve: the system counts CPU in steps of 10 ms
QUESTION = "Tell me more. " * 6  # what makes a history grow, where an answer is a token


class Reading(msgspec.Struct, frozen=True):
    """Cumulative counters of one Redis and one node at a point in time."""

    at: float  # seconds of perf_counter
    calls: float  # requests that Redis read; ours are left out
    written: float  # bytes of its append-only file
    cpu: float  # seconds of the node and its Redis


class Turns(msgspec.Struct, frozen=True):
    """One point: means over the turns `first` to `last` of all conversations."""

    first: int
    last: int
    calls: float
    bytes: float
    cpu_us: float
    ms: float  # from the question to the end
    reading_us: float = 0.0  # of cpu_us: to read and render what was said before


class Meter:
    """Reads the counters of one Redis and one node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int) -> None:
        self.reader = reader
        self.writer = writer
        self.pid = pid
        self.asked = 0  # by ourselves

    async def read(self) -> Reading:
        """All of them now. Raises ConnectionError."""
        facts = parse_info(await self._info())
        self.asked += 1
        cpu = usage([self.pid, int(facts["process_id"])]).serving_cpu
        calls = int(facts["total_reads_processed"]) - self.asked
        return Reading(perf_counter(), calls, int(facts["aof_current_size"]), cpu)

    async def _info(self) -> str:
        self.writer.write(b"INFO everything\r\n")
        replies = hiredis.Reader()
        while (reply := replies.gets()) is False:
            data = await self.reader.read(65536)
            if not data:
                raise ConnectionError("redis-server hung up")
            replies.feed(data)
        assert isinstance(reply, bytes)
        return reply.decode()


def parse_info(info: str) -> dict[str, str]:
    """The fields of Redis' INFO reply."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def cost(first: int, last: int, between: tuple[Reading, Reading], idle: tuple[Reading, Reading], turns: int) -> Turns:
    """Of each turn, without what the same time costs an idle node. Below nothing it is noise, and is seen as such."""
    seconds = between[1].at - between[0].at
    share = seconds / (idle[1].at - idle[0].at)

    def each(name: str) -> float:
        used, anyway = (float(getattr(pair[1], name) - getattr(pair[0], name)) for pair in (between, idle))
        return (used - anyway * share) / turns

    return Turns(first, last, each("calls"), each("written"), each("cpu") * 1e6, seconds / turns * 1000)


def mean_reading(begin: int, end: int, reading: tuple[float, float]) -> float:
    """The mean of what turns begin+1 .. end read, between what is read after `begin` and after `end` turns."""
    share = (end - begin - 1) / 2 / (end - begin)
    return reading[0] + (reading[1] - reading[0]) * share


def edges(turns: int, step: int) -> list[int]:
    """After which turns the counters are read: the first one, which has no history, stands alone."""
    return sorted({0, 1, *range(step, turns, step), turns})


async def conversations(url: str, meter: Meter, count: int, marks: Sequence[int], tokens: int) -> list[Turns]:
    """Talk. Raises TurnFailed, ConnectionError."""
    idle = await meter.read()
    await asyncio.sleep(IDLE)
    nothing = (idle, await meter.read())
    (lane,) = await open_lanes(f"{url}/v1/responses", 1, {})
    await _turn(lane, None, tokens)  # the first answer of a node is slower than all others
    ids: list[str | None] = [None] * count
    await asyncio.to_thread(_count, url, ids)
    bare = await _counted(url, meter, ids, nothing)
    reading, found = 0.0, []
    for begin, end in pairwise(marks):
        before = await meter.read()
        for _ in range(begin, end):
            ids = [await _turn(lane, id, tokens) for id in ids]
        point = cost(begin + 1, end, (before, await meter.read()), nothing, count * (end - begin))
        last, reading = reading, await _counted(url, meter, ids, nothing) - bare
        found.append(msgspec.structs.replace(point, reading_us=mean_reading(begin, end, (last, reading))))
    lane.close()
    return found


async def _counted(url: str, meter: Meter, ids: Sequence[str | None], idle: tuple[Reading, Reading]) -> float:
    """Microseconds of CPU of one such request."""
    before = await meter.read()
    await asyncio.to_thread(_count, url, ids)
    return cost(0, 0, (before, await meter.read()), idle, COUNTS).cpu_us


def _count(url: str, ids: Sequence[str | None]) -> None:
    """Have the input of next questions counted, over one connection. Raises TurnFailed."""
    place = urlsplit(url)
    with closing(HTTPConnection(place.hostname or "", place.port, timeout=60)) as connection:
        for id in islice(cycle(ids), COUNTS):
            body = msgspec.json.encode(_question(id))
            connection.request("POST", "/v1/responses/input_tokens", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise TurnFailed(answer.read().decode(errors="replace"))
            answer.read()


def _question(after: str | None) -> dict[str, object]:
    asked: dict[str, object] = {"input": QUESTION}
    return asked | {"previous_response_id": after} if after else asked


async def _turn(lane: Lane, after: str | None, tokens: int) -> str:
    now = perf_counter()
    observer = TurnObserver(Sample(now, now, []))
    body: dict[str, object] = {"type": "response.create", "max_output_tokens": tokens, "ignore_eos": True}
    await lane.ask(body | _question(after), observer)
    if observer.sample.error is not None or observer.id is None:
        raise TurnFailed(observer.sample.error or "no id")
    return observer.id


def measure_turns(count: int, turns: int, step: int, tokens: int) -> list[Turns]:
    """`count` conversations of so many turns on a fresh node. Raises NotReady, TurnFailed, ConnectionError."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        address, _ = stack.enter_context(redis(folder))
        flags = ["--redis-url", address, "--scripted-rate", "0"]
        url, running = stack.enter_context(node(folder, "node", flags))
        return asyncio.run(_metered(url, address, running.pid, (count, edges(turns, step), tokens)))


async def _metered(url: str, address: str, pid: int, talk: tuple[int, list[int], int]) -> list[Turns]:
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
    try:
        return await conversations(url, Meter(reader, writer, pid), *talk)
    finally:
        writer.close()
