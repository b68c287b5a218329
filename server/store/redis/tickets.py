"""Tickets in Redis: two keys each, which expire or are taken together."""

from server.store.redis.backend import RedisPart
from server.store.redis.scripts import PutTicket, TakeTicket
from server.store.types import Ticket


class RedisTicketStore(RedisPart):
    """Keeps the contract `TicketStore`. Every method is one script.

    The caller has a key to itself, which releases before 0.3.0 read and write: their tickets have no proof.
    """

    async def put_ticket(self, id: str, ticket: Ticket, seconds: int) -> None:
        """See `TicketStore.put_ticket`."""
        key, proof = self._keys.ticket(id), self._keys.ticket_proof(id)
        await self._client.run(
            PutTicket(ticket=key, proof=proof, caller=ticket.caller, proven=ticket.proof, seconds=seconds)
        )

    async def take_ticket(self, id: str) -> Ticket | None:
        """See `TicketStore.take_ticket`."""
        key, proof = self._keys.ticket(id), self._keys.ticket_proof(id)
        found = await self._client.run(TakeTicket(ticket=key, proof=proof))
        return None if found is None else Ticket(*(value.decode() for value in found))
