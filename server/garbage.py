"""When Python looks for cycles. It stands still meanwhile, half a microsecond for each object that it looks at."""

import gc
import time
from collections.abc import Callable

QUIET_SECONDS = 5.0  # without a turn and without new objects to speak of: what a request was parsed to is gone by then
BUSY_SECONDS = 600.0  # after which a node that is never quiet looks through everything, too
RETRY_SECONDS = 30.0  # until it tries again where there was too much to look at
FEW_OBJECTS = 60_000  # that are looked at in 30 ms or less
LONG_SECONDS = 0.010  # of a collection, after which what it left is not looked at again
OVERDUE_AFTER = 10  # collections of the middle generation, as Python has it
AUTOMATIC_AFTER = 10_000  # of them, so that Python goes on without us


def freeze_loaded_objects() -> None:
    """Keep what was loaded out of sight, and leave it to `CycleCollector` when to look at everything.

    Python would do it in the middle of a message of half a million objects, which took a quarter of a second and found
    nothing: trees, turns and sockets end without cycles. What a turn leaves behind is found while it is young.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, AUTOMATIC_AFTER)


class CycleCollector:
    """Looks through everything at moments when there is little to look at. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = 0  # collections of the middle generation, at the last look
        self._quiet_since = clock()
        self._next_busy = clock() + BUSY_SECONDS

    def look(self, *, idle: bool) -> bool:
        """Called every now and then; `idle` says that no turn runs. Whether it has looked for cycles."""
        now, count = self._clock(), gc.get_count()[2]
        if not idle or count != self._seen:
            self._seen, self._quiet_since = count, now
        if count <= OVERDUE_AFTER:
            return False
        if now - self._quiet_since < QUIET_SECONDS and not self._is_cheap(now):
            return False
        self._collect(now)
        return True

    def _is_cheap(self, now: float) -> bool:
        """Whether a busy node may do it now. Counting costs a fifth of looking for cycles."""
        if now < self._next_busy:
            return False
        self._next_busy = now + RETRY_SECONDS
        return len(gc.get_objects(generation=2)) <= FEW_OBJECTS

    def _collect(self, now: float) -> None:
        """Find cycles, and see to it that the next time is not as long where this was long.

        What is frozen is still freed when nothing refers to it any more; only cycles of it are not, and it held none.
        """
        began = time.thread_time()
        gc.collect()
        if time.thread_time() - began > LONG_SECONDS:
            gc.freeze()
        self._next_busy = now + BUSY_SECONDS
        self._seen = gc.get_count()[2]
