"""What a viewer takes of a log at once."""

import pytest

from server.log.subscriber import gapless
from server.store.types import LogEntry
from server.turns.subscription import portions


def log(*tops: int, after: int = -1) -> list[LogEntry]:
    """Entries that end at these numbers."""
    return [LogEntry(top, b"", before) for before, top in zip((after, *tops), tops, strict=False)]


@pytest.mark.parametrize(
    ("tops", "together"),
    [
        ([], []),
        ([0], [[0]]),
        ([0, 1, 2, 3], [[0, 1, 2], [3]]),
        ([1, 3, 5], [[1], [3], [5]]),
        ([9], [[9]]),
        ([0, 9, 10, 11], [[0], [9], [10, 11]]),
    ],
)
def test_no_more_than_three_events_come_together_unless_one_entry_has_them(
    tops: list[int], together: list[list[int]]
) -> None:
    assert [[logged.last_seq for logged in part] for part in portions(log(*tops), 3)] == together


def test_numbers_after_a_hole_come_apart() -> None:
    entries = [*log(1, 3), *log(1004, 1005, after=1003)]
    assert gapless(entries) == entries[:2]
    assert gapless(entries[2:]) == entries[2:]
    assert gapless([]) == []
