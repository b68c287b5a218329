"""The command: `python -m bench.faults`."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from time import perf_counter

import msgspec
import uvloop

from bench.faults.catalogue import CATALOGUE, Entry
from bench.faults.cluster import versions
from bench.faults.scenarios import Scale
from bench.faults.table import Row, circumstances, render


def arguments() -> argparse.Namespace:
    """The parsed command line."""
    text = "\n".join(f"  {entry.name:12} {entry.what}" for entry in CATALOGUE)
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description="Inject faults while many clients ask, and check that every answer is complete and unchanged.",
        epilog=f"scenarios:\n{text}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="a few minutes: what the tests run")
    size.add_argument("--long", action="store_true", help="100 kills and restarts, 5,000 sockets: an hour")
    parser.add_argument("--only", metavar="NAME", action="append", choices=[entry.name for entry in CATALOGUE])
    parser.add_argument("--times", type=int, help="faults injected in each scenario")
    parser.add_argument(
        "--turns", type=int, help="minimum number of turns in each scenario; faults go on until they are reached"
    )
    parser.add_argument("--clients", type=int, help="clients of each scenario")
    parser.add_argument("--tokens", type=int, help="tokens of an answer")
    parser.add_argument("--engine", choices=["scripted", "vllm"], default="scripted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave what the programs wrote in /tmp/tl-*")
    parser.add_argument("--json", metavar="FILE", type=Path, help="the rows, with every gap")
    return parser.parse_args()


def chosen(asked: argparse.Namespace) -> list[tuple[Entry, Scale]]:
    """The selected scenarios with their sizes."""
    entries = [
        entry for entry in CATALOGUE if (entry.name in asked.only if asked.only else entry.short or not asked.short)
    ]
    return [(entry, _scale(entry, asked)) for entry in entries]


def _scale(entry: Entry, asked: argparse.Namespace) -> Scale:
    size = entry.short if asked.short and entry.short else entry.long if asked.long else entry.usual
    changes = {
        name: value for name in ("times", "turns", "clients", "tokens") if (value := getattr(asked, name)) is not None
    }
    fixed = msgspec.structs.replace(size, seed=asked.seed, engine=asked.engine, keep=asked.keep)
    return msgspec.structs.replace(fixed, **changes)


async def run(asked: argparse.Namespace) -> list[Row]:
    """One scenario after the other. SIGTERM ends it politely: nothing that was started stays."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    rows = []
    for entry, scale in chosen(asked):
        begin = perf_counter()
        try:
            row = await entry.run(scale)
        except Exception as error:  # the other scenarios still tell something
            row = Row(entry.name, wrong=[f"the run was aborted: {type(error).__name__}: {error}"])
        print(f"{entry.name}: {row.turns} turns in {perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        rows.append(row)
    said = await versions()
    print(f"{render(rows)}\n\n{circumstances(said)}", flush=True)
    return rows


def main() -> int:
    """The exit status: 0 if nothing went wrong."""
    asked = arguments()
    rows = uvloop.run(run(asked))
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)))
    return 0 if all(row.clean for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
