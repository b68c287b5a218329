"""The rows of a run, as text and as JSON."""

import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

import msgspec

PACKAGES = ("uvicorn", "uvloop", "starlette", "websockets", "redis", "hiredis")


class Row(msgspec.Struct):
    """One scenario. Times are in seconds."""

    scenario: str
    injected: int = 0
    turns: int = 0
    lost: int = 0
    repeated: int = 0
    changed: int = 0
    failed: int = 0
    holes: int = 0
    broken: int = 0  # logs in Redis with an entry that does not follow the one before
    refused: int = 0  # errors after which a client tried again
    errors: int = 0  # lines of that level in the nodes' logs
    hit: int = 0  # turns that felt a fault
    gaps: list[float] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)  # further measurements
    wrong: list[str] = msgspec.field(default_factory=list)  # what is not as it must be, in words

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, repeated, changed, failed, broken or otherwise wrong."""
        return not (self.lost or self.repeated or self.changed or self.failed or self.broken or self.wrong)


def percentile(values: Sequence[float], percent: int) -> float:
    """By linear interpolation; NaN for no values."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def summary(values: Sequence[float]) -> str:
    """`p50 / p99 ms (count)`."""
    return f"{percentile(values, 50) * 1e3:.1f} / {percentile(values, 99) * 1e3:.1f} ms ({len(values)})"


COUNTS = ("injected", "turns", "lost", "repeated", "changed", "failed", "holes", "broken", "refused", "errors", "hit")
COLUMNS = ("scenario", *COUNTS)


def render(rows: Iterable[Row]) -> str:
    """One line for each scenario, then the notes, then what was wrong."""
    rows = list(rows)
    lines = [[*(str(getattr(row, name)) for name in COLUMNS), *_gap(row.gaps)] for row in rows]
    table = [[*COLUMNS, "gap p50 ms", "gap p99 ms"], *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = [
        "  ".join(_cell(cell, width, at) for at, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]
    text += [f"{row.scenario}: {note}" for row in rows for note in row.notes]
    text += [f"{row.scenario}: WRONG: {what}" for row in rows for what in row.wrong]
    return "\n".join(text)


def _cell(cell: str, width: int, at: int) -> str:
    return cell.rjust(width) if at else cell.ljust(width)


def _gap(gaps: Sequence[float]) -> tuple[str, str]:
    if not gaps:
        return "-", "-"
    return f"{percentile(gaps, 50) * 1e3:.0f}", f"{percentile(gaps, 99) * 1e3:.0f}"


def circumstances(programs: Iterable[str], command: str = "bench.faults") -> str:
    """Where and with what a run of a command happened; `programs` are version lines of the other processes."""
    processors = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    model = processors[0].partition(": ")[2] if processors else platform.processor()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            f"command: python -m {command} {' '.join(sys.argv[1:])}".rstrip(),
            f"machine: {len(processors)} x {model}, {platform.system()} {platform.release()}",
            f"load average at the end: {' '.join(' '.join(_lines('/proc/loadavg')).split()[:3])}",
            f"versions: Python {platform.python_version()}, {packages}",
            *programs,
        ]
    )


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
