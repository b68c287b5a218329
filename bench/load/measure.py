"""One whole run: plan, send, count."""

import datetime
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.load import arrivals, plan
from bench.load.connect import base, headers
from bench.load.options import Options
from bench.load.plan import Session, Shape
from bench.load.result import numbers
from bench.load.workers import LoadError, OnProgress, Run, jobs, run
from bench.processes import entry


def measure(options: Options, show: OnProgress) -> tuple[dict[str, Any], Run]:
    """Send the load; the numbers, and what they are made of. Raises LoadError, OSError, ValueError."""
    gone = [str(pid) for pid in options.pids if entry(pid) is None]
    if gone:
        raise LoadError(f"there is no process {' or '.join(gone)}")
    if not options.model:
        options = msgspec.structs.replace(options, model=first_model(options))
    rng = random.Random(options.seed)
    warm = list(plan.sessions(shape(options), options.warmup, rng))
    made = run(jobs(options, sessions(options, rng), warm), show)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return numbers(options, made, date), made


def sessions(options: Options, rng: random.Random) -> list[Session]:
    """What is sent and, in an open loop, when. Raises OSError, ValueError."""
    if options.trace:
        points = arrivals.trace(Path(options.trace).read_text().splitlines(), options.speed)
        return plan.timed(plan.sessions(shape(options), len(points), rng), points)
    drawn = plan.sessions(shape(options), options.sessions, rng)
    if not options.rate:
        return list(drawn)
    gaps = random.Random(options.seed + 1)  # so that the same texts come at other times
    return plan.timed(list(drawn), _points(options, gaps))


def _points(options: Options, rng: random.Random) -> Iterator[float]:
    if options.steady:
        return arrivals.constant(options.rate)
    return arrivals.gamma(options.rate, options.burstiness, rng)


def shape(options: Options) -> Shape:
    """The distributions. Raises OSError, ValueError."""
    path = options.conversations
    chats = plan.conversations(Path(path).read_text().splitlines()) if path else ()
    return Shape(options.prompt_words, options.output_tokens, options.turns, chats)


def first_model(options: Options) -> str:
    """What the server lists first. Raises LoadError."""
    url = f"{base(options.url)}/v1/models"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers(options)), timeout=10) as answer:
            return str(json.load(answer)["data"][0]["id"])
    except (urllib.error.URLError, TimeoutError, KeyError, IndexError, ValueError) as error:
        raise LoadError(f"{url} names no model: {error}") from None
