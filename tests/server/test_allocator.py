"""Giving back what was freed."""

from itertools import pairwise

import pytest

from server import allocator
from server.allocator import GROWN_BYTES, LONGEST_PAUSE, SHORTEST_PAUSE, Trimmer

START = 100 * GROWN_BYTES


class Process:
    """One whose memory a test decides over."""

    def __init__(self) -> None:
        self.resident = START
        self.held = 0  # bytes that are in use and not free
        self.trims = 0

    def trim(self) -> None:
        self.trims += 1
        self.resident = START + self.held


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process()
    monkeypatch.setattr(allocator, "resident_bytes", lambda: process.resident)
    monkeypatch.setattr(allocator, "_trim", process.trim)
    return process


async def test_memory_is_given_back_when_the_process_has_grown(process: Process) -> None:
    trimmer = Trimmer()
    assert not await trimmer.look(0)
    process.resident += GROWN_BYTES
    assert await trimmer.look(1)
    assert not await trimmer.look(10)
    process.resident += GROWN_BYTES - 1
    assert not await trimmer.look(20)
    process.resident += 1
    assert await trimmer.look(30)
    assert process.trims == 2


async def test_what_is_freed_after_a_look_is_given_back_too(process: Process) -> None:
    trimmer = Trimmer()
    process.resident, process.held = START + 3 * GROWN_BYTES, 3 * GROWN_BYTES
    assert await trimmer.look(0)
    process.held = 0
    assert not await trimmer.look(SHORTEST_PAUSE)
    assert await trimmer.look(2 * SHORTEST_PAUSE)
    assert process.resident == START


async def test_memory_that_is_in_use_is_looked_at_ever_more_seldom(process: Process) -> None:
    trimmer = Trimmer()
    process.resident, process.held = START + 3 * GROWN_BYTES, 3 * GROWN_BYTES
    looks = [now for now in range(3600) if await trimmer.look(now)]
    pauses = [later - earlier for earlier, later in pairwise(looks)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert len(looks) < 24
