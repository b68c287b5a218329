"""Tickets in memory."""

import time

from server.store.memory.state import MemoryPart, MemoryState


class MemoryTicketStore(MemoryPart):
    """Keeps the contract `TicketStore`."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__(state)
        # The caller of each ticket, and when it expires by the monotonic clock.
        self._tickets: dict[str, tuple[str, float]] = {}

    async def put_ticket(self, ticket: str, caller: str, seconds: int) -> None:
        """See `TicketStore.put_ticket`."""
        self._tickets[ticket] = (caller, time.monotonic() + seconds)

    async def take_ticket(self, ticket: str) -> str | None:
        """See `TicketStore.take_ticket`."""
        caller, expires_at = self._tickets.pop(ticket, ("", 0.0))
        return caller if time.monotonic() < expires_at else None
