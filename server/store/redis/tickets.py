"""Tickets in Redis: one key each, which expires or is taken."""

from server.store.redis.backend import RedisPart


class RedisTicketStore(RedisPart):
    """Keeps the contract `TicketStore`. Every method is one command."""

    async def put_ticket(self, ticket: str, caller: str, seconds: int) -> None:
        """See `TicketStore.put_ticket`."""
        await self._client.call("SET", self._keys.ticket(ticket), caller, "EX", seconds)

    async def take_ticket(self, ticket: str) -> str | None:
        """See `TicketStore.take_ticket`."""
        caller: bytes | None = await self._client.call("GETDEL", self._keys.ticket(ticket))
        return None if caller is None else caller.decode()
