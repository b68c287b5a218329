"""Time as nodes count it, by which their promises hold on any machine."""

from redis import Redis

from server.store.redis.keys import Keys

BEAT = 0.15  # seconds between two heartbeats


class Beats:
    """Seconds since this was made, by the heartbeats of whichever node beat most since.

    A machine that is slow or busy is late with them as with everything else, so they measure what a node waits for
    and not how fast it runs.
    """

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, decode_responses=True)
        self._began = self._counts()

    def seconds(self) -> float:
        """How many have gone by."""
        counts = self._counts()
        return BEAT * max(counts.get(owner, began) - began for owner, began in self._began.items())

    def close(self) -> None:
        self._redis.close()

    def _counts(self) -> dict[str, int]:
        beats = self._redis.hgetall(Keys.nodes()).items()
        return {str(owner): int(str(value).partition(" ")[0]) for owner, value in beats}
