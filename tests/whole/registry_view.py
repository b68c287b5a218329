"""Prints, as JSON, what one release makes of the nodes in a Redis: free slots and deaths by owner.

Run with a release's tree in PYTHONPATH and the Redis URL as its argument. It beats as a node of that release does, so
that reading, decoding and judging are the release's own, and strikes itself out at the end.
"""

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

OWNER = "observer"
BEATS = 7  # more than a node must miss to be dead
MODEL = "scripted-1"  # version of the scripted engine's model


async def view(url: str) -> dict[str, Any]:
    """Beat until every verdict is settled."""
    store = import_module("server.store.redis" if _is_flat() else "server.store.redis.store").connect(url)
    beat, free_slots, dead = _judge(store)
    for _ in range(BEATS):
        await beat()
        await asyncio.sleep(0.15)
    snapshot = await store.beat(OWNER, b"{}")
    await store.retire(OWNER, snapshot.counts[OWNER])
    await store.close()
    return {"free_slots": free_slots(MODEL), "dead": sorted(dead())}


def _judge(store: Any) -> tuple[Any, Any, Any]:
    """How this release beats, and what it then says of free slots and of deaths."""
    if _is_flat():
        beats = import_module("server.store.beats")
        heart = beats.Heart(store, OWNER, lambda: beats.Note("loading"), changed=_ignore, mail=_ignore)
        return heart.beat, heart.census.able, heart.census.gone
    heartbeat = import_module("server.node.heartbeat")
    detector = heartbeat.FailureDetector(OWNER, heartbeat.HeartbeatConfig())
    callbacks = heartbeat.HeartbeatCallbacks(changed=_ignore, notified=_ignore)
    heartbeater = heartbeat.Heartbeater(store, detector, lambda: heartbeat.NodeInfo("loading"), callbacks)
    return heartbeater.beat, detector.free_slots, detector.dead_nodes


def _is_flat() -> bool:
    """Whether this release is of those before the modules had packages of their own."""
    try:
        import_module("server.node.heartbeat")
    except ModuleNotFoundError:
        return True
    return False


def _ignore(*_: object) -> None:
    pass


if __name__ == "__main__":
    print(json.dumps(asyncio.run(view(sys.argv[1]))))
