"""The store without Redis: the same contracts, one process, nothing expires.

For tests, for measuring what the log costs (`STORE=memory`), and to read what the contracts are.
"""

from server.store.memory.history import MemoryHistoryStore
from server.store.memory.registry import MemoryNodeRegistry
from server.store.memory.state import MemoryState
from server.store.memory.tickets import MemoryTicketStore
from server.store.memory.turns import MemoryTurnStore
from server.store.redis.keys import Keys


class MemoryStore(MemoryTurnStore, MemoryHistoryStore, MemoryNodeRegistry, MemoryTicketStore):
    """Everything in dictionaries. Each method runs without awaiting, so each is atomic."""

    def __init__(self, *, partitions: int = 1) -> None:
        super().__init__(MemoryState(Keys(partitions)))

    async def check(self) -> None:
        """It is always there."""

    async def close(self) -> None:
        """There is nothing to close."""
