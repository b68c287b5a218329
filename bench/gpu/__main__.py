"""`python -m bench.gpu`: the bare engine and this server in front of 8 B parameters, at 64, 256 and 1,024 streams.

For a machine with an NVIDIA GPU. The weights are random, so nothing is fetched. `--cpu` runs the same program on a tiny
model, to see that it works.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.compare.__main__ import Comparison, conditions
from bench.compare.systems import Setup
from bench.compare.table import FLOOR, OURS, Cell, Promise, table, verdict
from bench.gpu.model import EIGHT, TINY, Architecture, write
from bench.launch import scratch

SYSTEMS = ("floor", "ours")
NONE = "bench.gpu: nvidia-smi lists no NVIDIA GPU on this machine; `--cpu` checks the program on a tiny model instead"


class Size(msgspec.Struct, frozen=True):
    """The size of the measurement."""

    shape: Architecture
    streams: tuple[int, ...]
    requests: int  # answers per stream
    output_tokens: int
    rounds: int
    eager: bool
    memory: float  # share of the GPU's


class Run(msgspec.Struct, frozen=True):
    """All rounds with so many streams."""

    streams: int
    cells: list[Cell]
    absent: dict[str, str]


REAL = Size(EIGHT, (64, 256, 1024), 4, 128, 3, eager=False, memory=0.9)
SMALL = Size(TINY, (2, 4), 2, 8, 1, eager=True, memory=0.2)


def gpus() -> list[str]:
    """Name, memory and driver of each NVIDIA GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False)
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()] if listed.returncode == 0 else []


def setup(size: Size, model: Path, streams: int) -> Setup:
    """The engine has room for all streams at once: what waits for a slot says nothing about a server."""
    return Setup(
        str(model),
        streams,
        size.requests * streams,
        size.output_tokens,
        prompt_words=16,
        eager=size.eager,
        memory=size.memory,
        load_format="dummy",
        seqs=max(streams, 8),
    )


def promise(streams: int) -> Promise:
    """What is to be reached with so many."""
    return Promise("N3", f"tokens/s, {streams} streams, against AsyncLLM alone", OURS, FLOOR, "tokens", least=0.97)


def measure(size: Size, model: Path, folder: Path) -> list[Run]:
    """One comparison after the other."""
    runs = []
    for streams in size.streams:
        place = folder / f"streams-{streams}"
        place.mkdir()
        comparison = Comparison(setup(size, model, streams), SYSTEMS, place)
        for number in range(size.rounds):
            comparison.round(number)
        runs.append(Run(streams, comparison.cells, comparison.absent))
    return runs


def report(run: Run) -> str:
    """A table, and what it says of the target."""
    return f"{run.streams} streams\n\n{table(run.cells, run.absent)}\n\n{verdict(promise(run.streams), run.cells)}\n"


def main(words: Sequence[str]) -> int:
    """Measure, print, write. The exit status: 2 without a GPU, 1 where a system gave no numbers."""
    given = _parse(words)
    found = gpus()
    if not found and not given.cpu:
        print(NONE, file=sys.stderr)
        return 2
    size = _size(given)
    with scratch() as folder:
        model = write(size.shape, folder / "model")
        about = conditions(setup(size, model, size.streams[-1]), size.rounds)
        runs = measure(size, model, folder)
    print(f"{'; '.join(found) or 'no GPU'}; {size.shape.parameters:,} parameters, random; {about}\n")
    print(*(report(run) for run in runs), sep="\n")
    if given.json:
        content = {"gpus": found, "parameters": size.shape.parameters, "conditions": about, "runs": runs}
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(content)))
    return 1 if any(run.absent or not run.cells for run in runs) else 0


def _size(given: argparse.Namespace) -> Size:
    changes = {name: value for name in ("streams", "rounds", "output_tokens") if (value := getattr(given, name))}
    return msgspec.structs.replace(SMALL if given.cpu else REAL, **changes)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="a tiny model and few streams, without a GPU")
    parser.add_argument("--streams", type=_numbers, help="by default 64,256,1024")
    parser.add_argument("--rounds", type=int, help="by default 3")
    parser.add_argument("--output-tokens", type=int, help="of an answer; by default 128")
    parser.add_argument("--json", type=Path, help="write every round's numbers there")
    return parser.parse_args(words)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
