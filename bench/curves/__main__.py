"""`python -m bench.curves`: costs against streams and against the length of a conversation, as JSON and pictures.

It uses the scripted engine, so that what is seen is the server's. Take the figures on a machine that does nothing else.
"""

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.curves.streams import AtOnce, Pace, measure_streams
from bench.curves.turns import Turns, measure_turns
from bench.load.charts import curve, standalone

COUNTS = (1, 4, 16, 64, 256, 1000)
MEBI = 2**20


def pictures(streams: Sequence[AtOnce], turns: Sequence[Turns]) -> Iterator[tuple[str, str]]:
    """The charts of a run: the name of each file and its SVG."""
    steps = [point.streams for point in streams]
    cpu = [(float(point.streams), point.cpu_us_per_token) for point in streams]
    memory = [(float(point.streams), point.rss_bytes / MEBI) for point in streams]
    yield "streams-cpu", curve(cpu, "streams", "us of CPU per token", steps=steps)
    yield "streams-memory", curve(memory, "streams", "MiB of the node", steps=steps)
    for name, unit in (("calls", "store calls per turn"), ("bytes", "bytes written per turn")):
        yield f"turns-{name}", curve([(point.last, getattr(point, name)) for point in turns], "turns", unit)
    yield "turns-cpu", curve([(point.last, point.cpu_us / 1000) for point in turns], "turns", "ms of CPU per turn")
    rest = [(point.last, (point.cpu_us - point.reading_us) / 1000) for point in turns]
    yield "turns-cpu-rest", curve(rest, "turns", "ms of CPU per turn without its history")


def write(folder: Path, command: str, streams: Sequence[AtOnce], turns: Sequence[Turns]) -> None:
    """One file of numbers, and a picture of each."""
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    content = {"command": command, "machine": machine, "streams": streams, "turns": turns}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curves.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    for name, picture in pictures(streams, turns):
        (folder / f"curve-{name}.svg").write_text(standalone(picture) + "\n")


def main(words: Sequence[str]) -> int:
    """Measure, say it, write it. The exit status: 1 where an answer failed."""
    given = _parse(words)
    pace = Pace(given.rate, given.tokens, given.seconds)
    streams = []
    for count in given.streams:
        streams.append(measure_streams(count, pace))
        print(streams_line(streams[-1]), flush=True)
    turns = measure_turns(given.conversations, given.turns, given.step, given.turn_tokens)
    print(*(turns_line(point) for point in turns), sep="\n")
    write(given.out, f"python -m bench.curves {' '.join(words)}".rstrip(), streams, turns)
    return 1 if any(point.failed for point in streams) else 0


def streams_line(point: AtOnce) -> str:
    """The summary line of one point of the streams curve."""
    failed = f", {point.failed} failed" if point.failed else ""
    return (
        f"{point.streams} streams: {point.tokens_per_s:,.0f} tokens/s, {point.cpu_us_per_token:.1f} us/token, of which "
        f"Redis {point.store_us_per_token:.1f}, node {point.rss_bytes / MEBI:,.0f} MiB{failed}"
    )


def turns_line(point: Turns) -> str:
    """The summary line of one point of the turns curve."""
    return (
        f"turns {point.first}-{point.last}: {point.calls:.1f} store calls, {point.bytes:,.0f} bytes written, "
        f"{point.cpu_us / 1000:.2f} ms of CPU, of which {point.reading_us / 1000:.2f} to read and render the history, "
        f"{point.ms:.1f} ms"
    )


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder, as docs")
    parser.add_argument("--streams", type=_numbers, default=COUNTS, help="rising, as 1,4,16")
    parser.add_argument("--rate", type=int, default=30, help="tokens per second of each stream")
    parser.add_argument("--tokens", type=int, default=150, help="of an answer")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each number of streams")
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--turns", type=int, default=200, help="of a conversation")
    parser.add_argument("--step", type=int, default=10, help="turns of which the mean is taken")
    few = (
        "of an answer in a conversation; how many of its chunks share a call depends on the time, so that one is exact"
    )
    parser.add_argument("--turn-tokens", type=int, default=1, help=few)
    return parser.parse_args(words)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
