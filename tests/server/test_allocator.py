"""Giving back what was freed."""

import pytest

from server import allocator
from server.allocator import GROWN_BYTES, Trimmer


async def test_memory_is_given_back_when_the_process_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, trims = [100 * GROWN_BYTES], []

    def trim() -> None:
        trims.append(resident[0])
        resident[0] = 100 * GROWN_BYTES + 1

    monkeypatch.setattr(allocator, "resident_bytes", lambda: resident[0])
    monkeypatch.setattr(allocator, "_trim", trim)
    trimmer = Trimmer()
    assert not await trimmer.look()
    resident[0] += GROWN_BYTES
    assert await trimmer.look()
    assert not await trimmer.look()
    resident[0] -= GROWN_BYTES
    assert not await trimmer.look()
    resident[0] += GROWN_BYTES
    assert await trimmer.look()
    assert len(trims) == 2
