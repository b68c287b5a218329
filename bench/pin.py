"""Puts processes on cores, so that a comparison compares servers and not the scheduler's luck."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from bench.processes import ENGINE, family, table


def cores(text: str) -> set[int]:
    """`0,2-4` is {0, 2, 3, 4}. Raises ValueError."""
    ranges = [part.partition("-") for part in text.split(",")]
    return {core for low, _, high in ranges for core in range(int(low), int(high or low) + 1)}


def pin(pid: int, to: set[int]) -> None:
    """Every thread of a process; those that it starts later follow."""
    with contextlib.suppress(OSError):  # it may be gone
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), to)


def pin_family(root: int, engine: str, serving: str) -> None:
    """The engine's processes here, the others of the family there; an empty text leaves them where they are."""
    entries = table()
    for pid in family([root], entries):
        where = engine if re.search(ENGINE, entries[pid].command) else serving
        if where:
            pin(pid, cores(where))


@contextlib.contextmanager
def pinned(to: str) -> Iterator[None]:
    """This process, and what it starts meanwhile."""
    before = os.sched_getaffinity(0)
    if to:
        pin(os.getpid(), cores(to))
    try:
        yield
    finally:
        pin(os.getpid(), before)
