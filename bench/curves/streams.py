"""What a token costs, and what memory a node has, with so many answers at once."""

import math

import msgspec

from bench.launch import scratch
from bench.load.lengths import Length
from bench.load.measure import measure
from bench.load.options import Options
from bench.load.workers import Progress
from bench.processes import entry
from bench.scale import node


class Pace(msgspec.Struct, frozen=True):
    """Rate, length and duration of the load."""

    rate: int = 30  # tokens per second of each
    tokens: int = 150  # of an answer
    seconds: float = 15.0  # in which answers begin


class AtOnce(msgspec.Struct, frozen=True):
    """The measurements at one number of concurrent streams."""

    streams: int
    cpu_us_per_token: float  # of the node and its Redis
    store_us_per_token: float  # of these, its Redis'
    rss_bytes: int  # of the node's own process
    tokens_per_s: float
    failed: int


def measure_streams(streams: int, pace: Pace) -> AtOnce:
    """A fresh node under so many streams. Raises NotReady, LoadError."""
    flags = ["--scripted-rate", str(pace.rate), "--scripted-slots", str(streams), "--max-queue", str(streams)]
    with scratch() as folder, node(folder, "node", flags) as (url, running):
        result, _ = measure(load(url, running.pid, streams, pace), _silent)
        process = entry(running.pid)
    return AtOnce(
        streams,
        result["server_cpu_us_per_token"],
        result["store_cpu_us_per_token"],
        process.rss if process is not None else 0,
        result["output_throughput"],
        result["failed"],
    )


def load(url: str, pid: int, streams: int, pace: Pace) -> Options:
    """Everybody asks again until the time is over."""
    each = math.ceil(pace.seconds * pace.rate / pace.tokens) + 1
    return Options(
        "ws",
        url,
        concurrency=streams,
        sessions=streams * each,
        duration=pace.seconds,
        warmup=streams,
        output_tokens=Length("fixed", pace.tokens),
        pids=(pid,),
    )


def _silent(progress: Progress) -> None:
    pass
