"""Memory that was freed, and that the C library keeps: it expects a program that once needed much to need it again.

A node needs much for moments only, while long requests are read and rendered. What threads have freed meanwhile stays
in heaps of their own, full of holes, which nothing but `malloc_trim` gives back. Elsewhere than on glibc all of this
does nothing.
"""

import ctypes
import math
import os
from contextlib import suppress
from pathlib import Path

from engine.offload import in_thread

GROWN_BYTES = 24 * 1024 * 1024  # by which a process has grown before it is worth a look at what it could give back
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds between two trims
STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """What this process has in memory; 0 where the system does not say."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


class Trimmer:
    """Gives free memory back where the process has grown.

    What was needed is often freed a while after it was needed last, as when its sockets close. So a trim that brought
    little is tried again, each time after a longer pause: it may be that what the process has is in use.
    """

    def __init__(self) -> None:
        self._least = resident_bytes()  # so far
        self._pause = SHORTEST_PAUSE
        self._next = -math.inf  # time of the next trim at the earliest

    async def look(self, now: float) -> bool:
        """Whether there was reason to give memory back; done in a thread. Called now and then, `now` in seconds."""
        before = resident_bytes()
        self._least = min(self._least, before)
        if before - self._least < GROWN_BYTES:
            self._pause = SHORTEST_PAUSE
            return False
        if now < self._next:
            return False
        await in_thread(_trim)
        after = resident_bytes()
        self._least = min(self._least, after)
        self._pause = SHORTEST_PAUSE if before - after >= GROWN_BYTES else min(2 * self._pause, LONGEST_PAUSE)
        self._next = now + self._pause
        return True


def _trim() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
