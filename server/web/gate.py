"""The door: host, origin and credentials of a request, before anything else looks at it."""

from collections.abc import Mapping

from server.protocol.errors import unauthorized
from server.store.contracts import Store
from server.web.auth import TICKET_SECONDS, Authenticator, new_ticket


class Gate:
    """Checks requests against `Authenticator`, and tickets against the store."""

    def __init__(self, auth: Authenticator, store: Store) -> None:
        self.auth = auth
        self.store = store

    def check_page(self, headers: Mapping[str, str]) -> None:
        """Host and origin. Raises WireError 403."""
        self.auth.check_host(headers.get("host"))
        self.auth.check_origin(headers.get("origin"), headers.get("host"))

    def http(self, headers: Mapping[str, str]) -> str:
        """The caller of an HTTP request that passed the door. Raises WireError 401."""
        return self.auth.caller(headers.get("authorization"))

    async def websocket(self, headers: Mapping[str, str], ticket: str | None) -> str:
        """The caller of an upgrade: a ticket counts where browsers cannot send headers. Raises WireError 401, 403."""
        self.check_page(headers)
        if ticket is None or self.auth.open:
            return self.auth.caller(headers.get("authorization"))
        caller = await self.store.take_ticket(ticket)
        if caller is None:
            raise unauthorized("This ticket was used before, or expired.")
        return caller

    async def ticket(self, caller: str) -> dict[str, object]:
        """Make a single-use ticket."""
        ticket = new_ticket()
        await self.store.put_ticket(ticket, caller, TICKET_SECONDS)
        return {"ticket": ticket, "expires_in": TICKET_SECONDS}
