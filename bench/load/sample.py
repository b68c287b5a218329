"""The measurements of one request. Times are seconds of perf_counter, which is one clock for all
processes of a machine on Linux."""

from itertools import pairwise

import msgspec


class Sample(msgspec.Struct):
    """One turn as its client saw it."""

    intended: float  # when it was meant to be sent: all latencies count from here
    sent: float  # when it was
    stamps: list[float] = []  # arrival of each event that carries text
    ended: float = 0.0  # arrival of the terminal event, or when it failed
    input_tokens: int = 0
    output_tokens: int = 0  # as the server's usage says
    turn: int = 0  # its place in the session
    connecting: float = 0.0  # seconds that it waited for a connection
    error: str | None = None  # its kind

    @property
    def late(self) -> float:
        """Seconds between the intended and the real send, without those for a connection: the client's own fault."""
        return self.sent - self.intended - self.connecting

    @property
    def ttft(self) -> float:
        """Seconds to the first text."""
        return (self.stamps[0] if self.stamps else self.ended) - self.intended

    @property
    def latency(self) -> float:
        """Seconds to the terminal event."""
        return self.ended - self.intended

    @property
    def tpot(self) -> float:
        """Seconds per token after the first; 0 for an answer of one token."""
        return (self.latency - self.ttft) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0

    @property
    def gaps(self) -> list[float]:
        """Seconds between one text event and the next."""
        return [later - earlier for earlier, later in pairwise(self.stamps)]

    @property
    def stall(self) -> float:
        """The longest of these gaps; 0 where there is none."""
        return max(self.gaps, default=0.0)


def rebuffer(sample: Sample, speed: float) -> float:
    """The share of the viewing time in which somebody who reads `speed` tokens per second waits for text.

    Reading begins with the first event. Tokens are taken to be spread evenly over the events.
    """
    if not sample.stamps:
        return 0.0
    pace = sample.output_tokens / len(sample.stamps) / speed  # seconds of reading per event
    read_up_to, waited = sample.stamps[0], 0.0
    for stamp in sample.stamps:
        waited += max(0.0, stamp - read_up_to)
        read_up_to = max(stamp, read_up_to) + pace
    viewing = read_up_to - sample.stamps[0]
    return waited / viewing if viewing else 0.0
