"""From rounds to a table and to the ratios that are promised. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec


class Cell(msgspec.Struct, frozen=True):
    """One way of asking one server, in one round."""

    name: str
    round: int
    tokens: float  # per second, loaded
    cpu: float  # microseconds per token of everything that serves, loaded
    store: float  # of these, the store's
    ttft: float  # milliseconds, median, loaded
    single: float  # milliseconds, median, one stream
    failed: int
    merged: float = 1.0  # tokens per event: a server that is behind sends several at once
    rss: int = 0  # bytes of what serves
    itl: float = 0.0  # milliseconds between events, median, loaded


class Promise(msgspec.Struct, frozen=True):
    """A number that is to be reached."""

    id: str
    what: str
    one: str  # name of a row
    other: str  # the row that it is measured against
    field: str
    least: float | None = None
    most: float | None = None
    difference: bool = False  # instead of a ratio


COLUMNS = (
    "what serves",
    "tokens/s",
    "CPU per token",
    "store in it",
    "tokens per event",
    "TTFT p50",
    "ITL p50",
    "one stream",
    "failed",
    "memory",
)
OURS = "Throughline, WebSocket"
FLOOR = "AsyncLLM alone, no statistics"
IN_MEMORY = "Throughline, its store in memory, WebSocket"
PROMISES = (
    Promise("N1", "tokens/s, against vLLM's server", OURS, "vLLM's server, SSE, /v1/responses", "tokens", least=1.2),
    Promise("N2", "CPU per token, against vLLM's server", OURS, "vLLM's server, SSE, /v1/responses", "cpu", most=0.5),
    Promise(
        "N2", "CPU per token, against agentic-api", OURS, "agentic-api + vLLM's server, WebSocket", "cpu", most=0.33
    ),
    Promise("N3", "tokens/s, against AsyncLLM alone", OURS, FLOOR, "tokens", least=0.95),
    Promise("N4", "TTFT added, one stream, ms", OURS, FLOOR, "single", most=3.0, difference=True),
    Promise("N5", "CPU per token, log in Redis / in memory", OURS, IN_MEMORY, "cpu", most=1.2),
)


def rows(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """By name, in the order of their first round."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.name, []).append(cell)
    return found


def values(promise: Promise, cells: Sequence[Cell]) -> list[float]:
    """The ratio (or difference) in each round that has both."""
    by_round = {
        name: {cell.round: float(getattr(cell, promise.field)) for cell in cells if cell.name == name}
        for name in (promise.one, promise.other)
    }
    one, other = by_round[promise.one], by_round[promise.other]
    both = sorted(one.keys() & other.keys())
    if promise.difference:
        return [one[each] - other[each] for each in both]
    return [one[each] / other[each] for each in both if other[each]]


def verdict(promise: Promise, cells: Sequence[Cell]) -> str:
    """One line: the median, its range, the target, and whether it is reached."""
    found = values(promise, cells)
    target = f">= {promise.least:g}" if promise.least is not None else f"<= {promise.most:g}"
    unit = "" if promise.difference else "x"
    if not found:
        return f"{promise.id}  {promise.what}: not measured (target {target}{unit})"
    middle = median(found)
    kept = (promise.least is None or middle >= promise.least) and (promise.most is None or middle <= promise.most)
    spread = f"{min(found):.2f} to {max(found):.2f} in {len(found)} rounds"
    word = "kept" if kept else "MISSED"
    return f"{promise.id}  {promise.what}: {middle:.2f}{unit} ({spread}; target {target}{unit}) {word}"


def table(cells: Sequence[Cell], absent: Mapping[str, str]) -> str:
    """Medians as Markdown; what could not be measured has a row that says why."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_row(name, each) for name, each in rows(cells).items()]
    lines += [_line([name, why] + [""] * (len(COLUMNS) - 2)) for name, why in absent.items()]
    return "\n".join(lines)


def _row(name: str, each: Sequence[Cell]) -> str:
    middle = {field: median(float(getattr(cell, field)) for cell in each) for field in Cell.__struct_fields__[2:]}
    numbers = [
        f"{middle['tokens']:,.0f}",
        f"{middle['cpu']:.1f} us",
        f"{middle['store']:.1f} us",
        f"{middle['merged']:.1f}",
        f"{middle['ttft']:.1f} ms",
        f"{middle['itl']:.1f} ms",
        f"{middle['single']:.1f} ms",
        str(sum(cell.failed for cell in each)),
        f"{middle['rss'] / 2**20:,.0f} MiB",
    ]
    return _line([name, *numbers])


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"
