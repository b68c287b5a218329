"""`python -m bench.load`: run a load test and report its results."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from bench.load.measure import measure
from bench.load.options import Options, Outputs, parse
from bench.load.page import page
from bench.load.result import details, line
from bench.load.workers import LoadError, OnProgress, Progress, Run

BAR = 30  # characters


def main(words: Sequence[str]) -> int:
    """Run the load test. The exit status is 1 where no answer was completed, 2 where it could not run."""
    options, outputs = parse(words)
    try:
        result, made = measure(options, _bar(options) if sys.stderr.isatty() else _silent)
    except (LoadError, OSError, ValueError) as error:
        print(f"bench.load: {error}", file=sys.stderr)
        return 2
    print(line(result))
    write(outputs, result, made)
    return 0 if result["completed"] else 1


def write(outputs: Outputs, result: dict[str, Any], made: Run) -> None:
    """The files that were asked for."""
    if outputs.json:
        whole = result | (details(made.samples, made.began) if outputs.detailed else {})
        outputs.json.write_text(json.dumps(whole, indent=1) + "\n")
    if outputs.html:
        outputs.html.write_text(page(result, made.samples, made.began))


def _silent(progress: Progress) -> None:
    pass


def _bar(options: Options) -> OnProgress:
    whole = options.sessions * options.turns
    began = time.perf_counter()

    def show(progress: Progress) -> None:
        done = progress.done + progress.failed
        filled = min(BAR, BAR * done // whole)
        rate = progress.tokens / (time.perf_counter() - began)
        end = "\n" if done >= whole else ""
        text = (
            f"\r[{'#' * filled}{'.' * (BAR - filled)}] {done}/{whole}, {progress.failed} failed, {rate:,.0f} tokens/s "
        )
        print(text, end=end, file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
