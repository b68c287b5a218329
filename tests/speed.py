"""How fast this machine is, for bounds on processor time: on a slow one everything takes more of it."""

import time

USUAL = 0.02  # seconds for a million additions, where the bounds were set


def slowness() -> float:
    """How many times slower it is just now than the machine on which bounds were set; never below 1."""
    return max(1.0, min(_additions() for _ in range(3)) / USUAL)


def _additions() -> float:
    began, total = time.thread_time(), 0
    for number in range(1_000_000):
        total += number
    return time.thread_time() - began
