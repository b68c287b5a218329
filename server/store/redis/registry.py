"""The registry of nodes in Redis: one hash of all processes, and a list of notifications for each."""

from server.store.redis.backend import RedisPart
from server.store.redis.scripts import Beat, NotifyOwner, RetireNode
from server.store.types import ClusterSnapshot, TurnRef


class RedisNodeRegistry(RedisPart):
    """Keeps the contract `NodeRegistry`. Every method is one script or one command."""

    async def beat(self, owner: str, info: bytes) -> ClusterSnapshot:
        """See `NodeRegistry.beat`."""
        nodes, notifications = self._keys.nodes(), self._keys.notifications(owner)
        flat, taken = await self._client.run(Beat(nodes=nodes, notifications=notifications, owner=owner, info=info))
        rows = {name.decode(): value.split(b" ", 1) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        return ClusterSnapshot(
            counts={name: int(count) for name, (count, _) in rows.items()},
            nodes={name: info for name, (_, info) in rows.items()},
            notifications=tuple(TurnRef(*notification.decode().rsplit(" ", 1)) for notification in taken),
        )

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
