"""The contract of every ticket store."""

import asyncio

from server.store.contracts import Store
from tests.server.store.make import ALICE


async def test_ticket_is_taken_once(store: Store) -> None:
    await store.put_ticket("t", ALICE, 60)
    assert await store.take_ticket("t") == ALICE
    assert await store.take_ticket("t") is None


async def test_unknown_ticket_has_no_caller(store: Store) -> None:
    assert await store.take_ticket("t") is None


async def test_ticket_expires(store: Store) -> None:
    await store.put_ticket("t", ALICE, 1)
    await asyncio.sleep(1.1)
    assert await store.take_ticket("t") is None
