"""The end of a log in memory, which any number of viewers read by position."""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from server.store.errors import PositionLost
from server.store.types import LogEntry

# Takes entries at once, without waking whoever waits; or returns False. It raises nothing.
EntrySink = Callable[[list[LogEntry]], bool]


class LogBuffer:
    """Entries from behind number `base`, only acknowledged ones. Whoever feeds it moves it; viewers wait for that."""

    def __init__(
        self, base: int, entries: Iterable[LogEntry] = (), *, closed: bool = False, stalled: bool = False
    ) -> None:
        self.base = base
        self.entries: list[LogEntry] = []
        # Nobody feeds it any more: go on elsewhere, from your position.
        self.closed = closed
        # The log does not answer; everything follows when it is back.
        self.stalled = stalled
        # Why nothing can follow.
        self.lost: PositionLost | None = None
        self._tops: list[int] = []
        self._waiting: dict[asyncio.Future[None], EntrySink | None] = {}
        self.extend(entries)

    @property
    def last_seq(self) -> int:
        """Number of the last event that is here."""
        return self._tops[-1] if self._tops else self.base

    @property
    def ended(self) -> bool:
        """Whether the terminal event is here."""
        return bool(self.entries) and self.entries[-1].is_last

    @property
    def done(self) -> bool:
        """Whether nothing is to be added any more."""
        return self.ended or self.closed or self.lost is not None

    def __contains__(self, number: int) -> bool:
        """Whether an entry ends at this number."""
        index = bisect_left(self._tops, number)
        return index < len(self._tops) and self._tops[index] == number

    def entries_after(self, after: int) -> list[LogEntry]:
        """Entries with events above `after`."""
        return self.entries[bisect_right(self._tops, after) :]

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Add what is new."""
        new = []
        top = self.last_seq
        for logged in entries:
            if logged.last_seq > top:
                top = logged.last_seq
                self.entries.append(logged)
                self._tops.append(top)
                new.append(logged)
        for future, take in list(self._waiting.items()) if new else ():
            if not future.done() and (take is None or not take(new)):
                future.set_result(None)

    def close(self) -> None:
        """Send the viewers elsewhere."""
        self.closed = True
        self.notify()

    def lose(self, error: PositionLost) -> None:
        """Nothing can follow."""
        self.lost = error
        self.notify()

    def set_stalled(self, *, stalled: bool) -> None:
        """Say whether the log answers."""
        if stalled != self.stalled:
            self.stalled = stalled
            self.notify()

    def notify(self) -> None:
        """Wake every viewer."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait_changed(self, take: EntrySink | None = None) -> None:
        """Wait for any change but entries that `take` took. Cancelling it leaves nothing behind."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = take
        try:
            await future
        finally:
            del self._waiting[future]
