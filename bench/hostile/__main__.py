"""The command: `python -m bench.hostile`."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from time import perf_counter

import msgspec
import uvloop

from bench.faults.cluster import versions
from bench.faults.table import circumstances
from bench.hostile.alone import alone
from bench.hostile.corpus.catalogue import CATALOGUE
from bench.hostile.node import ROOT, probed_node
from bench.hostile.sender import running_sender
from bench.hostile.table import render, summary
from bench.hostile.trial import Pace, Trial
from bench.hostile.verdict import Run, Targets, documented, kept

USUAL = Pace()
SHORT = Pace(warm=0.5, seconds=0.0, linger=0.1, rest=0.0, control=False, again=0, most=3)
SHORT_TARGETS = Targets(callback=1.0, polite=None, memory=None)  # of a machine that does other things too


def arguments() -> argparse.Namespace:
    """What was asked for."""
    text = "\n".join(f"  {family.name:14} {family.what}" for family in CATALOGUE)
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile",
        description="Throw hostile input at a node while ten polite clients talk to it, and say what they felt.",
        epilog=f"families:\n{text}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=["scripted", "vllm"], action="append", help="both, if none is named")
    parser.add_argument("--only", metavar="FAMILY", action="append", choices=[family.name for family in CATALOGUE])
    parser.add_argument("--input", metavar="WORDS", default="", help="inputs whose name contains this")
    parser.add_argument("--short", action="store_true", help="three inputs of each family, no control: what tests run")
    parser.add_argument("--alone", action="store_true", help="one input after the other: which one is it?")
    parser.add_argument("--seconds", type=float, default=USUAL.seconds, help="of each family, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave what the programs wrote in /tmp/tl-*")
    parser.add_argument("--json", metavar="FILE", type=Path, help="the rows, with every outcome")
    return parser.parse_args()


async def run(asked: argparse.Namespace) -> bool:
    """One engine after the other; whether every promise was kept. SIGTERM ends it: nothing that was started stays."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    engines = asked.engine or (["scripted"] if asked.short else ["scripted", "vllm"])
    if asked.alone:
        for engine in engines:
            async with probed_node(engine, keep=asked.keep) as node:
                await alone(node, names(asked), asked.seed, asked.input)
        return True
    targets = SHORT_TARGETS if asked.short else Targets()
    runs = {engine: await _engine(engine, asked, targets) for engine in engines}
    print(circumstances(await versions(), "bench.hostile"))
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(runs)))
    return all(kept(run, targets) for run in runs.values())


def names(asked: argparse.Namespace) -> list[str]:
    """Families."""
    return asked.only or [family.name for family in CATALOGUE]


async def _engine(engine: str, asked: argparse.Namespace, targets: Targets) -> Run:
    pace = SHORT if asked.short else msgspec.structs.replace(USUAL, seconds=asked.seconds)
    done = Run([], 0)
    async with probed_node(engine, keep=asked.keep) as node, running_sender() as sender:
        trial = Trial(node, sender, pace, targets, asked.seed, asked.input)
        async with trial.company():
            start = node.used().serving_rss
            for name in names(asked):
                began = perf_counter()
                done.rows.append(await trial.family(name))
                print(f"{engine} {name}: {perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            done.stays = node.used().serving_rss - start
    known = documented((ROOT / "docs" / "protocol.md").read_text())
    print(f"{engine}\n{render(done.rows, targets, known)}\n{summary(done, targets)}\n", flush=True)
    return done


def main() -> int:
    """The exit status: 0 if every promise was kept."""
    return 0 if uvloop.run(run(arguments())) else 1


if __name__ == "__main__":
    sys.exit(main())
