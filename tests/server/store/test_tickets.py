"""The contract of every ticket store."""

import asyncio

from server.store.contracts import Store
from server.store.types import Ticket
from tests.server.store.make import ALICE

TICKET = Ticket(ALICE, "proof")


async def test_ticket_is_taken_once(store: Store) -> None:
    await store.put_ticket("t", TICKET, 60)
    assert await store.take_ticket("t") == TICKET
    assert await store.take_ticket("t") is None


async def test_ticket_is_taken_once_by_many_at_once(store: Store) -> None:
    await store.put_ticket("t", TICKET, 60)
    taken = await asyncio.gather(*(store.take_ticket("t") for _ in range(20)))
    assert [each for each in taken if each is not None] == [TICKET]


async def test_unknown_ticket_has_no_caller(store: Store) -> None:
    assert await store.take_ticket("t") is None


async def test_ticket_expires(store: Store) -> None:
    await store.put_ticket("t", TICKET, 1)
    await asyncio.sleep(1.1)
    assert await store.take_ticket("t") is None
