"""Tickets in memory."""

import time

from server.store.memory.state import MemoryPart, MemoryState
from server.store.types import Ticket


class MemoryTicketStore(MemoryPart):
    """Keeps the contract `TicketStore`."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__(state)
        # Each ticket, and when it expires by the monotonic clock.
        self._tickets: dict[str, tuple[Ticket, float]] = {}

    async def put_ticket(self, id: str, ticket: Ticket, seconds: int) -> None:
        """See `TicketStore.put_ticket`."""
        self._tickets[id] = (ticket, time.monotonic() + seconds)

    async def take_ticket(self, id: str) -> Ticket | None:
        """See `TicketStore.take_ticket`."""
        ticket, expires_at = self._tickets.pop(id, (None, 0.0))
        return ticket if time.monotonic() < expires_at else None
