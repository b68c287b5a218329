"""A store that fails on demand: it loses requests and replies, stalls, and records the appends that it is sent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from server.store.contracts import Store
from server.store.errors import StoreDown
from server.store.types import Append, Ending, WriteResult

T = TypeVar("T")


class Faulty:
    """Passes everything on to a real store; appends and endings fail as `faults` say."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.batches: list[list[Append]] = []
        # For each of the next calls: "request" is lost, "reply" after it was applied, "bug", "" goes well.
        self.faults: list[str] = []
        # While it is set, calls pass.
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, batch: Sequence[Append]) -> list[WriteResult]:
        self.batches.append(list(batch))
        return await self._faulty(lambda: self._store.append(batch))

    async def finish(self, ending: Ending) -> WriteResult:
        self.batches.append([ending.append])
        return await self._faulty(lambda: self._store.finish(ending))

    async def _faulty(self, call: Callable[[], Awaitable[T]]) -> T:
        await self.gate.wait()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "bug":
            raise KeyError("what no repeat can help")
        if fault == "request":
            raise StoreDown("lost on the way")
        result = await call()
        if fault == "reply":
            raise StoreDown("lost on the way back")
        return result
