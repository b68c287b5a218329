"""Whoever follows a turn from a position: a socket's lane, an SSE stream, a caller who waits for the end."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from server.log.subscriber import LogNotice, LogSubscriber
from server.protocol.entry import TERMINAL, Kind, decode
from server.protocol.events import EventRenderer
from server.store.contracts import Store
from server.store.retry import REPEAT
from server.store.types import LogEntry, Turn, TurnRef
from server.turns.presence import Presence
from server.turns.spec import TurnSpec

AT_ONCE = 64  # events of a log in memory that are handed out before others get a turn

RETURN = 2.0  # seconds for an owner to give its turn back to an empty Redis


async def turn_at(store: Store, ref: TurnRef, after: int) -> Turn | None:
    """A turn by its id. One of which somebody has seen events is looked for again for a while: where Redis came back
    empty, its owner is giving it back."""
    turn = await store.turn(ref)
    until = time.monotonic() + RETURN
    while turn is None and after >= 0 and time.monotonic() < until and await store.response(ref) is None:
        await asyncio.sleep(REPEAT)
        turn = await store.turn(ref)
    return turn


class TurnSubscription:
    """A position in one turn. It owns no copy of the log: when its reader is slow, it simply stays behind."""

    def __init__(
        self,
        watcher: LogSubscriber,
        presence: Presence,
        ref: TurnRef,
        record: TurnSpec,
        after: int,
        lane: str | None = None,
    ) -> None:
        self.watcher = watcher
        self.presence = presence
        self.lane = lane
        self.ref = ref
        self.record = record
        self.number = after  # of the last event that was handed out
        self.view = EventRenderer(record.response, lane)
        self.handed = 0  # events since others had a turn
        self.stalled = False  # the log does not answer at the moment
        self.begun = False  # an event other than created, queued and in_progress was handed out
        self.final: dict[str, Any] | None = None  # the finished response, once the terminal event was handed out
        # Sends frames that end at a number at once, while the iterator waits; or returns False.
        self.push: Callable[[list[bytes], int], bool] | None = None

    async def frames(self) -> AsyncGenerator[list[bytes]]:
        """Events after the position as they come, each once, up to the terminal one. Raises PositionLost."""
        with self.presence.watching(self.ref):
            async with aclosing(self.watcher.subscribe(self.ref, self.number, self)) as seen:
                async for each in seen:
                    if isinstance(each, LogNotice):
                        self.stalled = each is LogNotice.STALLED
                        continue
                    for entries in portions(each, AT_ONCE):
                        frames = [frame for logged in entries for frame in self._render(logged)]
                        for at in range(0, len(frames), AT_ONCE):
                            self.number = entries[-1].last_seq - max(len(frames) - at - AT_ONCE, 0)
                            yield frames[at : at + AT_ONCE]
                            await self._pause(len(frames[at : at + AT_ONCE]))

    def try_push(self, run: list[LogEntry]) -> bool:
        """A token that goes to its reader where the log's answer comes in, without a task's turn."""
        if self.push is None or run[-1].last_seq - self.number > AT_ONCE:
            return False
        top = run[-1].last_seq
        frames = self._render(run[0]) if len(run) == 1 else [frame for logged in run for frame in self._render(logged)]
        if not self.push(frames, top):
            return False
        self.number = top
        return True

    async def _pause(self, handed: int) -> None:
        """A fast reader of a long log never waits for anything by itself."""
        self.handed += handed
        if self.handed >= AT_ONCE:
            self.handed = 0
            await asyncio.sleep(0)

    async def end(self) -> dict[str, Any] | None:
        """Wait for the finished response; None when the position was behind its end. Raises PositionLost."""
        async for _ in self.frames():
            pass
        return self.final

    def _render(self, logged: LogEntry) -> list[bytes]:
        entry = decode(logged.entry)
        frames = self.view.frames(entry, logged.last_seq, self.number)
        last = entry.events[-1]
        self.begun = self.begun or last.kind > Kind.IN_PROGRESS
        if last.kind in TERMINAL:
            self.final = last.data
        return frames


def portions(entries: Sequence[LogEntry], events: int) -> Iterator[Sequence[LogEntry]]:
    """Entries in order, together while they hold at most so many events; a longer one comes alone."""
    first = count = 0
    for at, logged in enumerate(entries):
        count += logged.last_seq - logged.after_seq
        if count > events and at > first:
            yield entries[first:at]
            first, count = at, logged.last_seq - logged.after_seq
    if first < len(entries):
        yield entries[first:]
