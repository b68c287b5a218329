"""The phrases and words, in text files: a heading at the margin, its lines indented below it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@cache
def read(name: str) -> Mapping[str, Sequence[str]]:
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            sections[heading].append(line.strip().replace("\\n", "\n"))
        elif line:
            heading = line
            sections[heading] = []
    return sections


def words(section: Sequence[str]) -> list[str]:
    return " ".join(section).split()
