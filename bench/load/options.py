"""The command line of the load generator."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.load import lengths
from bench.load.lengths import Length
from bench.load.metrics import SLO_NAMES, Rules
from bench.load.target import TARGETS
from bench.processes import ENGINE


class Options(msgspec.Struct, frozen=True):
    """One run, as it was asked for."""

    target: str
    url: str
    model: str = ""  # empty: the first that the server lists
    key: str = ""
    rate: float = 0.0  # sessions per second; 0: no open loop by rate
    burstiness: float = 1.0
    steady: bool = False  # constant gaps
    trace: str = ""  # a file
    speed: float = 1.0  # of the trace
    concurrency: int = 1
    sessions: int = 100
    duration: float = 0.0  # seconds; 0: until all sessions are done
    warmup: int = 0  # sessions
    turns: int = 1
    think: float = 0.0  # seconds
    lanes: int = 1
    connections: int = 0  # opened before the start, at least
    prompt_words: Length = Length("fixed", 16)
    output_tokens: Length = Length("fixed", 128)
    conversations: str = ""  # a file
    force: bool = True
    temperature: float | None = 0.0
    timeout: float = 120.0  # seconds
    seed: int = 0
    processes: int = 1
    rules: Rules = Rules()
    pids: tuple[int, ...] = ()  # of the server's programs; none: their cost is not looked at
    engine_pids: tuple[int, ...] = ()
    engine_name: str = ENGINE
    label: str = ""

    @property
    def open_loop(self) -> bool:
        """Whether sessions have their times, whatever the server does."""
        return bool(self.trace or self.rate)


class Outputs(msgspec.Struct, frozen=True):
    """The files that results are written to."""

    json: Path | None = None
    html: Path | None = None
    detailed: bool = False  # every request in the JSON


def parse(words: Sequence[str]) -> tuple[Options, Outputs]:
    """Read the command line; ends the program on a mistake, as argparse does."""
    parser = _parser()
    given = vars(parser.parse_args(words))
    outputs = Outputs(given.pop("json"), given.pop("html"), given.pop("detailed"))
    slos = dict(given.pop("slo"))
    given["rules"] = Rules(slos=slos, stall=given.pop("stall") / 1000, reading=given.pop("reading"))
    given["pids"], given["engine_pids"] = tuple(given.pop("pid")), tuple(given.pop("engine_pid"))
    if given["lanes"] > 1 and given["target"] != "ws":
        parser.error("--lanes needs --target ws")
    if given["trace"] and given["rate"]:
        parser.error("--trace and --rate exclude each other")
    return Options(**given), outputs


def slo(text: str) -> tuple[str, float]:
    """`ttft:500`: a name and milliseconds. Raises ArgumentTypeError."""
    name, _, limit = text.partition(":")
    try:
        if name in SLO_NAMES and float(limit) > 0:
            return name, float(limit)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is not NAME:MILLISECONDS with one of {', '.join(SLO_NAMES)}")


def length(text: str) -> Length:
    """A distribution. Raises ArgumentTypeError."""
    try:
        return lengths.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text: str) -> int:
    """A whole number from 1. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Measure a chat server under load.")
    parser.add_argument("--target", required=True, choices=TARGETS, help="ws and sse: ours; responses, chat: anybody's")
    parser.add_argument("--url", required=True, help="as http://127.0.0.1:8000")
    parser.add_argument("--model", default="", help="by default the first that the server lists")
    parser.add_argument("--key", default="", help="sent as a bearer token")
    parser.add_argument("--label", default="", help="a name for this run in its reports")
    _shape(parser.add_argument_group("load"))
    _content(parser.add_argument_group("requests"))
    _measures(parser.add_argument_group("measurement"))
    return parser


def _shape(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--rate", type=float, default=0.0, help="open loop: sessions per second; else closed loop")
    group.add_argument(
        "--burstiness", type=float, default=1.0, help="of gamma-distributed gaps; 1: Poisson, less: bursts"
    )
    group.add_argument("--steady", action="store_true", help="constant gaps")
    group.add_argument("--trace", default="", help="open loop: JSON lines with timestamps in seconds")
    group.add_argument("--speed", type=float, default=1.0, help="how much faster than recorded a trace is played")
    group.add_argument("--concurrency", type=count, default=1, help="closed loop: sessions under way at once")
    group.add_argument("--sessions", type=count, default=100, help="how many there are")
    group.add_argument("--duration", type=float, default=0.0, help="seconds after which no session begins")
    group.add_argument("--warmup", type=int, default=0, help="sessions before the measurement, not counted")
    group.add_argument("--lanes", type=count, default=1, help="turns at once on one socket")
    group.add_argument("--connections", type=int, default=0, help="opened before the start; closed loop: as needed")
    group.add_argument("--processes", type=count, default=1, help="client processes")


def _content(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--prompt-words", type=length, default="16", help="length of prompts")
    group.add_argument("--output-tokens", type=length, default="128", help="length of answers")
    group.add_argument("--conversations", default="", help="JSON lines of recorded chats, in place of made-up words")
    group.add_argument("--turns", type=count, default=1, help="in a session")
    group.add_argument("--think", type=float, default=0.0, help="seconds between an answer and the next turn")
    group.add_argument("--no-force", dest="force", action="store_false", help="let answers end before --output-tokens")
    group.add_argument("--temperature", type=float, default=0.0)
    group.add_argument("--seed", type=int, default=0, help="of everything that is drawn")


def _measures(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--slo", type=slo, action="append", default=[], help="as ttft:500, in milliseconds; may repeat")
    group.add_argument("--stall", type=float, default=250.0, help="milliseconds without text that a reader notices")
    group.add_argument("--reading", type=float, default=10.0, help="tokens per second of a reader")
    group.add_argument("--timeout", type=float, default=120.0, help="seconds for one turn")
    group.add_argument(
        "--pid", type=int, action="append", default=[], help="a server's process, children included; may repeat"
    )
    group.add_argument("--engine-pid", type=int, action="append", default=[], help="an engine's process; may repeat")
    group.add_argument("--engine-name", default=ENGINE, help="a pattern of engine processes' command lines")
    group.add_argument("--json", type=Path, help="write the numbers there")
    group.add_argument("--detailed", action="store_true", help="and every request")
    group.add_argument("--html", type=Path, help="write a report with pictures there")
