"""The registry of nodes in Redis: one hash of all processes, and a list of notifications for each."""

from server.store.redis.backend import RedisPart
from server.store.redis.scripts import MAX_COUNT, UNREADABLE_COUNT, Beat, NotifyOwner, RetireNode
from server.store.types import ClusterSnapshot, TurnRef


class RedisNodeRegistry(RedisPart):
    """Keeps the contract `NodeRegistry`. Every method is one script or one command."""

    async def beat(self, owner: str, info: bytes) -> ClusterSnapshot:
        """See `NodeRegistry.beat`. A row without a count has UNREADABLE_COUNT: a living process will write it anew."""
        nodes, notifications = self._keys.nodes(), self._keys.notifications(owner)
        reply = await self._client.run(Beat(nodes=nodes, notifications=notifications, owner=owner, info=info))
        flat, taken, dropped = reply
        for key in dropped:
            self._unreadable.report("key", key, "a value of another type, which was deleted")
        counts, infos = self._rows(flat)
        return ClusterSnapshot(counts, infos, self._refs(taken))

    def _rows(self, flat: list[bytes]) -> tuple[dict[str, int], dict[str, bytes]]:
        counts: dict[str, int] = {}
        infos: dict[str, bytes] = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            try:
                owner = name.decode()
            except ValueError as error:
                self._unreadable.report("node", name, error)
                continue
            try:
                counts[owner], infos[owner] = _count_and_info(value)
            except ValueError as error:
                self._unreadable.report("node", name, error)
                counts[owner], infos[owner] = UNREADABLE_COUNT, b""
        return counts, infos

    def _refs(self, notifications: list[bytes]) -> tuple[TurnRef, ...]:
        found = []
        for notification in notifications:
            try:
                caller, id = notification.decode().rsplit(" ", 1)
            except ValueError as error:
                self._unreadable.report("notification", notification, error)
            else:
                found.append(TurnRef(caller, id))
        return tuple(found)

    async def beats(self, owner: str) -> int | None:
        """See `NodeRegistry.beats`."""
        row = await self._client.call("HGET", self._keys.nodes(), owner)
        count = None if row is None else row.partition(b" ")[0]
        return int(count) if count is not None and count.isdigit() else None

    async def notify_owner(self, owner: str, ref: TurnRef) -> None:
        """See `NodeRegistry.notify_owner`."""
        notifications = self._keys.notifications(owner)
        await self._client.run(NotifyOwner(notifications=notifications, notification=f"{ref.caller} {ref.id}"))

    async def retire(self, owner: str, count: int) -> None:
        """See `NodeRegistry.retire`."""
        await self._client.run(RetireNode(nodes=self._keys.nodes(), owner=owner, count=count))


def _count_and_info(row: bytes) -> tuple[int, bytes]:
    """Read "<count> <info>". Raises ValueError."""
    digits, info = row.split(b" ", 1)
    if not digits.isdigit() or not 0 < (count := int(digits)) <= MAX_COUNT:
        raise ValueError("no count of beats")
    return count, info
