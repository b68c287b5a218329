"""Memory that was freed, and that the C library keeps: it expects a program that once needed much to need it again.

A node needs much for moments only, while long requests are read and rendered. What threads have freed meanwhile stays
in heaps of their own, full of holes, which nothing but `malloc_trim` gives back. Elsewhere than on glibc all of this
does nothing.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from engine.offload import in_thread

GROWN_BYTES = 24 * 1024 * 1024  # by which a process has grown before it is worth a look at what it could give back
STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """What this process has in memory; 0 where the system does not say."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


class Trimmer:
    """Gives free memory back where the process has grown since it did so last."""

    def __init__(self) -> None:
        self._least = resident_bytes()  # since then

    async def look(self) -> bool:
        """Whether there was reason to give memory back. It happens in a thread; called from time to time."""
        resident = resident_bytes()
        self._least = min(self._least, resident)
        if resident - self._least < GROWN_BYTES:
            return False
        await in_thread(_trim)
        self._least = resident_bytes()
        return True


def _trim() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
