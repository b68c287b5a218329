"""Turns that nobody runs."""

import msgspec
import structlog

from server.node import Node
from server.store.base import Store, StoreError, Turn

log = structlog.get_logger(__name__)


class Sweep:
    """Finds unfinished turns and has this node go on with them.

    A Redis of our own has one node, so after a start every unfinished turn is an orphan. Where nodes share a Redis it
    takes more than that to call a turn an orphan, and this leaves them alone.
    """

    def __init__(self, node: Node, store: Store, *, alone: bool) -> None:
        self.node = node
        self.store = store
        self.alone = alone

    async def recover(self) -> int:
        """Adopt what an earlier process left, oldest first. Returns how many turns that were."""
        if not self.alone:
            return 0
        adopted = 0
        for turn in sorted(await self._unfinished(), key=lambda turn: turn.created_at):
            try:
                adopted += await self.node.adopt(turn.ref, turn.lease)
            except (StoreError, KeyError, msgspec.DecodeError) as error:
                log.error("a turn cannot be continued", response_id=turn.ref.id, error=str(error))
        if adopted:
            log.info("continuing", turns=adopted)
        return adopted

    async def _unfinished(self) -> list[Turn]:
        """Those of an earlier process: this one admits turns from the moment on that its engine is loaded."""
        turns = [turn for partition in range(self.store.partitions) for turn in await self.store.sweep(partition)]
        return [turn for turn in turns if turn.lease is None or turn.lease.owner != self.node.owner]
