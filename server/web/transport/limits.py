"""What a connection may take before its credentials were accepted, and how many of them there may be.

Bookkeeping only: clocks and descriptors are passed in, and the protocol classes carry out what is decided here.
A connection is *unauthenticated* from its accept until a request head with valid credentials came, and again while a
later request without them is answered.
"""

import sys
from collections.abc import Hashable
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T", bound=Hashable)

SPARE_DESCRIPTORS = 64  # that stay for Redis, the engine and files at the least
MOST_SPARE_DESCRIPTORS = 512
SPARE_SHARE = 8  # one in so many stays free, between these two


class Reason(StrEnum):
    """Why a connection is not let in."""

    ADDRESS = "address"  # its network has as many as one may have
    TOTAL = "total"  # there are as many as there may be
    DESCRIPTORS = "descriptors"  # the process is short of file descriptors


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Numbers, seconds and bytes. The defaults leave honest clients alone, however slow their network."""

    total: int = 8192  # unauthenticated connections
    per_network: int = 512  # of one network
    descriptors: int = sys.maxsize  # a client's socket must have a lower number
    probe_descriptors: int = sys.maxsize  # and one that is only told so, or answered as a probe, a lower one than this
    evict_seconds: float = 1.0  # a connection that waited longer for a head gives way to new ones
    head_seconds: float = 10.0  # for a head, from the accept or from its first byte
    scarce_seconds: float = 2.0  # the same, for one that has one of the last descriptors
    body_seconds: float = 30.0  # for a body, and in addition:
    body_rate: int = 8192  # bytes of it that buy a second
    rest_seconds: float = 5.0  # for the rest of a body whose request was answered already
    url_bytes: int = 8000  # a WebSocket's request line must fit into 8192
    head_bytes: int = 32 * 1024  # of all headers, trailers included
    headers: int = 100


def connection_limits(total: int, per_network: int, descriptors: int) -> ConnectionLimits:
    """The limits of a process that may open so many descriptors; fewer than none means any number.

    A descriptor's number is the lowest that is free, so a socket whose number is below a mark leaves all numbers above
    it to others. Half of those is for Redis, the engine and files alone; with the other half probes are answered still.
    Unauthenticated connections get no more than half of what is below the mark, and one network a quarter of those.
    """
    if descriptors < 0:
        return ConnectionLimits(total=total, per_network=per_network)
    spare = min(max(descriptors // SPARE_SHARE, SPARE_DESCRIPTORS), MOST_SPARE_DESCRIPTORS, descriptors // 2)
    total = max(min(total, (descriptors - spare) // 2), 1)
    return ConnectionLimits(
        total=total,
        per_network=max(min(per_network, total // 4), 1),
        descriptors=descriptors - spare,
        probe_descriptors=descriptors - spare // 2,
    )


class ConnectionTable(Generic[T]):
    """The unauthenticated connections of a node, by network and in all."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._members: dict[T, str | None] = {}  # with the network that each is counted to
        self._networks: dict[str, int] = {}  # connections of each that has any
        self._waiting: dict[T, float] = {}  # those without a request, with the time since when, the oldest first

    def __len__(self) -> int:
        return len(self._members)

    def counts(self, member: T) -> bool:
        """Whether it is unauthenticated now."""
        return member in self._members

    def enter(self, member: T, network: str | None) -> Reason | None:
        """Count a connection, or count it to another network than before; or say why not, and change nothing."""
        is_new = member not in self._members
        if is_new and len(self._members) >= self.limits.total:
            return Reason.TOTAL
        if is_new or self._members[member] != network:
            if network is not None and self._networks.get(network, 0) >= self.limits.per_network:
                return Reason.ADDRESS
            self._count_less(self._members.get(member))
            self._members[member] = network
            if network is not None:
                self._networks[network] = self._networks.get(network, 0) + 1
        return None

    def wait(self, member: T, now: float) -> None:
        """It waits for a head from now on. Nothing happens to one that is not counted."""
        if member in self._members:
            self._waiting.pop(member, None)
            self._waiting[member] = now

    def begin_request(self, member: T) -> None:
        """A head is complete: the connection does not wait any more."""
        self._waiting.pop(member, None)

    def leave(self, member: T) -> None:
        """It was authenticated, or is gone. One that is not counted may leave, too."""
        self._waiting.pop(member, None)
        self._count_less(self._members.pop(member, None))

    def replace(self, member: T, successor: T) -> None:
        """Another object stands for the same connection; what was counted stays counted."""
        if member in self._members:
            self._members[successor] = self._members.pop(member)
        self._waiting.pop(member, None)

    def longest_waiting(self, now: float) -> T | None:
        """Who gives way to a newcomer: an honest client's head comes at once, so that it need not be afraid of this."""
        for member, since in self._waiting.items():
            return member if now - since >= self.limits.evict_seconds else None
        return None

    def _count_less(self, network: str | None) -> None:
        if network is not None:
            left = self._networks[network] - 1
            if left:
                self._networks[network] = left
            else:
                del self._networks[network]


class LogThrottle:
    """At most one line in `seconds` about each kind of thing; the next one says how many there were."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self._kinds: dict[str, tuple[float, int]] = {}  # time of the last line, and what came since

    def count(self, kind: str, now: float) -> int:
        """Note one more; how many a line about them has to name, or 0 where none is due yet."""
        last, missed = self._kinds.get(kind, (-self.seconds, 0))
        if now - last < self.seconds:
            self._kinds[kind] = last, missed + 1
            return 0
        self._kinds[kind] = now, 0
        return missed + 1
