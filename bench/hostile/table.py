"""The rows of a run as text."""

from collections.abc import Sequence

from bench.hostile.verdict import Documented, Row, Run, Targets, missed, named, notes

COLUMNS = (
    "family",
    "inputs",
    "MB",
    "callback",
    "turn",
    "TTFT p99",
    "over",
    "gap p99",
    "over",
    "MB stay",
    "engine",
    "named",
    "alive",
    "",
)


def render(rows: Sequence[Row], targets: Targets, known: Documented) -> str:
    """One line for each family, in ms and MB; then notes."""
    lines = [_cells(row, targets, known) for row in rows]
    table = [COLUMNS, *lines]
    widths = [max(len(line[at]) for line in table) for at in range(len(COLUMNS))]
    text = ["  ".join(_pad(line[at], width, at) for at, width in enumerate(widths)).rstrip() for line in table]
    text += [f"{row.family}: MISSED: {what}" for row in rows for what in missed(row, targets)]
    text += [f"{row.family}: {note}" for row in rows for note in notes(row, targets, known)]
    return "\n".join(text)


def summary(run: Run, targets: Targets) -> str:
    """All families together, promise by promise."""
    rows, stays = run.rows, run.stays
    callback = max(row.loop.callback for row in rows)
    worst = max(max(row.ttft, row.gap) for row in rows)
    dead = sum(not row.alive for row in rows)
    lines = [
        _promise(
            f"longest callback {callback * 1e3:.0f} ms", f"{targets.callback * 1e3:.0f} ms", callback, targets.callback
        ),
        _promise(f"deaths {dead}", "none", dead, 0),
    ]
    if targets.polite is not None:
        limit = f"+ {targets.polite * 1e3:.0f} ms"
        lines.append(_promise(f"polite p99 over the control + {worst * 1e3:.0f} ms", limit, worst, targets.polite))
    if targets.memory is not None:
        most = max(stays, *(row.node_memory for row in rows))
        said = f"memory after 10 s + {most / 1e6:.0f} MB (all families: {stays / 1e6:+.0f} MB)"
        lines.append(_promise(said, f"+ {targets.memory / 1e6:.0f} MB", most, targets.memory))
    return "\n".join(lines)


def _promise(said: str, limit: str, value: float, most: float) -> str:
    return f"{said}, promised {limit}: {'kept' if value <= most else 'MISSED'}"


def _cells(row: Row, targets: Targets, known: Documented) -> tuple[str, ...]:
    good, every = named(row.outcomes, known)
    polite = row.polite[-1]
    return (
        row.family,
        str(len(row.outcomes)),
        f"{row.size / 1e6:.0f}",
        f"{row.loop.callback * 1e3:.0f}",
        f"{row.loop.turn * 1e3:.0f}",
        f"{polite.ttft * 1e3:.0f}",
        f"{row.ttft * 1e3:+.0f}" if row.control else "-",
        f"{polite.gap * 1e3:.0f}",
        f"{row.gap * 1e3:+.0f}" if row.control else "-",
        f"{row.node_memory / 1e6:+.0f}",
        f"{row.engine_memory / 1e6:+.0f}",
        f"{good / every:.1%} of {every}" if every else "-",
        "yes" if row.alive else "NO",
        "MISSED" if any(missed(row, targets)) else "kept",
    )


def _pad(cell: str, width: int, at: int) -> str:
    return cell.rjust(width) if at else cell.ljust(width)
