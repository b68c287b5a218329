"""How many bytes of its clients' messages a node keeps for later: for all, for each caller, for each connection.

What waits costs memory for as long as others take, so it is bounded by its size and not by its number. What does not
fit is refused, and the client is told to come again.
"""

from server.protocol.errors import WireError


class ByteBudget:
    """Bytes that a node may hold. One caller may have half of them, so that nobody else is shut out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.by_caller: dict[str, int] = {}  # of those that hold any

    def take(self, caller: str, size: int) -> bool:
        """Hold so many bytes more, or return False, and hold nothing. A caller that holds nothing may have any size."""
        own = self.by_caller.get(caller, 0)
        if self.held + size > self.limit or (own and own + size > self.limit // 2):
            return False
        self.held += size
        self.by_caller[caller] = own + size
        return True

    def give_back(self, caller: str, size: int) -> None:
        """Hold so many bytes less."""
        self.held -= size
        self.by_caller[caller] -= size
        if not self.by_caller[caller]:
            del self.by_caller[caller]


class ByteShare:
    """What one holder has of a budget: at most `limit` bytes, but for a single message that is longer."""

    __slots__ = ("_budget", "_caller", "_limit", "held")

    def __init__(self, limit: int, budget: ByteBudget | None = None, caller: str = "") -> None:
        self.held = 0
        self._limit = limit
        self._budget = budget  # None: only the own limit counts
        self._caller = caller

    def take(self, size: int) -> bool:
        """Hold so many bytes more, or return False, and hold nothing."""
        if self.held and self.held + size > self._limit:
            return False
        if self._budget is not None and not self._budget.take(self._caller, size):
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self.held -= size
        if self._budget is not None and size:
            self._budget.give_back(self._caller, size)

    def close(self) -> None:
        """Hold nothing any more. May be called twice."""
        self.give_back(self.held)


def too_many_bytes() -> WireError:
    """What waits already is as much as this node keeps for this connection, for this caller, or for all."""
    message = "The messages that wait already hold as many bytes as this server keeps for later."
    return rate_limited(message)


def rate_limited(message: str) -> WireError:
    """429: too much at once, but later there is room."""
    return WireError(429, "rate_limit_exceeded", message, type="rate_limit_error", headers={"retry-after": "1"})
