"""The registry of nodes in memory."""

from server.store.memory.state import MemoryPart, MemoryState
from server.store.types import ClusterSnapshot, TurnRef


class MemoryNodeRegistry(MemoryPart):
    """Keeps the contract `NodeRegistry`. Notifications do not expire."""

    def __init__(self, state: MemoryState) -> None:
        super().__init__(state)
        # By owner: how often it has beaten, and what it reports of itself.
        self._counts: dict[str, int] = {}
        self._infos: dict[str, bytes] = {}
        self._notifications: dict[str, list[TurnRef]] = {}

    async def beat(self, owner: str, info: bytes) -> ClusterSnapshot:
        """See `NodeRegistry.beat`."""
        self._counts[owner] = self._counts.get(owner, 0) + 1
        self._infos[owner] = info
        return ClusterSnapshot(dict(self._counts), dict(self._infos), tuple(self._notifications.pop(owner, ())))

    async def beats(self, owner: str) -> int | None:
        """See `NodeRegistry.beats`."""
        return self._counts.get(owner)

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
        """See `NodeRegistry.notify_owner`."""
        notifications = self._notifications.setdefault(owner, [])
        if ref not in notifications:
            notifications.append(ref)

    async def retire(self, owner: str, count: int) -> None:
        """See `NodeRegistry.retire`."""
        if self._counts.get(owner) == count:
            del self._counts[owner], self._infos[owner]
