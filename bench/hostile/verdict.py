"""What a run of a family is judged by. Pure: measurements in, kept or missed out."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bench.hostile.outcome import Outcome
from bench.hostile.polite import Figures, worse
from bench.hostile.probe import Reading

EXAMPLES = 4  # of each thing that a note lists
OWN_CODES = re.compile(r"`([a-z_]+)`")
CLOSE_CODE = re.compile(r"^\| (\d{4}) \|", re.MULTILINE)
STANDARD_CLOSES = {"1000", "1002", "1007", "1009"}  # RFC 6455, 7.4.1: for frames that break its rules


class Targets(msgspec.Struct, frozen=True):
    """What is promised. None: not looked at."""

    callback: float = 0.050  # seconds of CPU
    polite: float | None = 0.020  # seconds of p99 over the control
    memory: int | None = 50_000_000  # bytes that stay


class Documented(msgspec.Struct, frozen=True):
    """The words that clients are promised, read from the protocol's page."""

    codes: frozenset[str]
    closes: frozenset[str]


class Row(msgspec.Struct):
    """One family. Times in seconds, memory in bytes."""

    family: str
    outcomes: list[Outcome]
    size: int  # bytes sent
    loop: Reading
    control_loop: Reading
    polite: list[Figures]  # of each run
    control: list[Figures]  # of the run before each
    node_memory: int  # that stayed
    engine_memory: int
    alive: bool
    errors: list[str]  # lines of that level in the node's log

    @property
    def ttft(self) -> float:
        """By how much longer the polite ones waited for the first text."""
        return worse(self.polite, self.control)[0]

    @property
    def gap(self) -> float:
        """By how much longer between two texts."""
        return worse(self.polite, self.control)[1]

    @property
    def failed(self) -> list[str]:
        """Polite questions that were refused or cut."""
        return [kind for figures in self.polite for kind in figures.failed]


class Run(msgspec.Struct):
    """All families against one engine."""

    rows: list[Row]
    stays: int  # bytes of the node's memory at the end, over those at the start


def kept(run: Run, targets: Targets) -> bool:
    """Whether every promise was."""
    fits = targets.memory is None or run.stays <= targets.memory
    return fits and not any(any(missed(row, targets)) for row in run.rows)


def documented(page: str) -> Documented:
    """From the tables of `docs/protocol.md`."""
    errors = page.partition("## Errors")[2]
    codes = frozenset(OWN_CODES.findall(errors)) | {"steering_not_supported"}
    return Documented(codes, frozenset(CLOSE_CODE.findall(page)) | STANDARD_CLOSES)


def named(outcomes: Iterable[Outcome], known: Documented) -> tuple[int, int]:
    """Refusals that name their reason by a documented code and a word, and all refusals, closed sockets among them."""
    good = every = 0
    for each in outcomes:
        codes = sum(count for code, count in each.refused.items() if code in known.codes)
        good += max(0, codes - len(each.bare) * (codes == each.refusals))
        every += each.refusals
        if each.closed.isdigit() and each.answers < each.due:
            every += 1
            good += each.closed in known.closes
    return good, every


def missed(row: Row, targets: Targets) -> Iterator[str]:
    """The promises that were not kept, in words."""
    if not row.alive:
        yield "the node died"
    if row.loop.callback > targets.callback:
        yield f"a callback of {row.loop.callback * 1e3:.0f} ms"
    if targets.polite is not None:
        for what, more in (("TTFT", row.ttft), ("gaps", row.gap)):
            if more > targets.polite:
                yield f"polite {what} p99 + {more * 1e3:.0f} ms"
    if row.failed:
        yield f"{len(row.failed)} polite questions failed"
    if targets.memory is not None and row.node_memory > targets.memory:
        yield f"{row.node_memory / 1e6:.0f} MB stay"
    yield from _unanswered(row.outcomes)


def _unanswered(outcomes: Sequence[Outcome]) -> Iterator[str]:
    kinds = {
        "without an answer": [each.name for each in outcomes if each.silent],
        "dropped without a word": [each.name for each in outcomes if each.dropped],
        "an error inside the server": [each.name for each in outcomes if each.broken],
    }
    yield from (f"{len(names)} inputs: {what}" for what, names in kinds.items() if names)


def notes(row: Row, targets: Targets, known: Documented) -> Iterator[str]:
    """What somebody who mends it wants to know."""
    if row.loop.callback > targets.callback:
        under_way = [each.name for each in row.outcomes if each.began <= row.loop.at <= each.ended + 0.5]
        yield f"the longest callback ran while these were under way: {_some(under_way)}"
        stacks = Counter(row.loop.stacks).most_common(EXAMPLES)
        yield f"the longest turn, {row.loop.looked_at * 1e3:.0f} ms: " + "; ".join(f"{n} x {at}" for at, n in stacks)
    if row.failed:
        yield f"polite failures: {dict(Counter(row.failed))}"
    for what, names in (
        ("without an answer", [each.name for each in row.outcomes if each.silent]),
        ("dropped", [f"{each.name} ({each.closed})" for each in row.outcomes if each.dropped]),
        ("errors inside", [f"{each.name}: {each.broken[0]}" for each in row.outcomes if each.broken]),
        ("refused without a reason", [f"{each.name}: {each.bare[0]}" for each in row.outcomes if each.bare]),
        ("codes that are not documented", sorted(_unknown(row.outcomes, known))),
        ("the node's log", [f"{count} x {line}" for line, count in Counter(row.errors).most_common()]),
    ):
        if names:
            yield f"{what}: {_some(names)}"


def _unknown(outcomes: Iterable[Outcome], known: Documented) -> set[str]:
    codes = {code for each in outcomes for code in each.refused if code not in known.codes}
    closes = {f"close {each.closed}" for each in outcomes if each.closed.isdigit() and each.closed not in known.closes}
    return codes | closes


def _some(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    more = f" and {len(different) - EXAMPLES} more" if len(different) > EXAMPLES else ""
    return "; ".join(different[:EXAMPLES]) + more
