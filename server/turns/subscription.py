"""Following one turn from a position: a socket's lane, an SSE stream, a caller who waits for the end.

Any number of subscriptions may follow a turn on one node. The JSON of its events is made once for all of them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from server.log.subscriber import LogNotice, LogSubscriber
from server.protocol.entry import TERMINAL, Kind, decode
from server.protocol.events import EventRenderer, lane_end, on_lane
from server.store.types import LogEntry, TurnRef
from server.turns.presence import Presence
from server.turns.spec import TurnSpec

if TYPE_CHECKING:
    from engine.base import Sink

AT_ONCE = 64  # events of a log in memory that are handed out before others get a turn
SHARED_BYTES = 64 * 1024  # of rendered events that are kept of a turn while anybody follows it


class RenderedEntry(msgspec.Struct, frozen=True, gc=False):
    """One entry as its events go out, on the connection's own lane."""

    entry: bytes  # what it was rendered from
    frames: list[bytes]
    has_begun: bool  # an event beside created, queued and in_progress is in it
    response: dict[str, Any] | None  # the finished response, with the terminal event
    size: int  # bytes of all frames


class RenderedTurn:
    """A turn's entries as JSON, made once for all subscriptions on this node.

    The latest ones are kept, at most `SHARED_BYTES`, for those who come later or are a little behind.
    """

    def __init__(self, response: dict[str, Any]) -> None:
        self.kept_bytes = 0  # of the frames that are kept
        self._renderer = EventRenderer(response)
        self._kept: dict[int, RenderedEntry] = {}  # by the number of the last event, oldest rendering first

    def entry(self, logged: LogEntry) -> RenderedEntry:
        """Render an entry, or find it rendered. The bytes are compared: numbers alone do not outlive a lost store."""
        known = self._kept.get(logged.last_seq)
        if known is not None and known.entry == logged.entry:
            return known
        rendered = self._render(logged)
        if known is not None:
            self.kept_bytes -= self._kept.pop(logged.last_seq).size
        self._kept[logged.last_seq] = rendered
        self.kept_bytes += rendered.size
        while self.kept_bytes > SHARED_BYTES and len(self._kept) > 1:
            self.kept_bytes -= self._kept.pop(next(iter(self._kept))).size
        return rendered

    def _render(self, logged: LogEntry) -> RenderedEntry:
        entry = decode(logged.entry)
        last = entry.events[-1]
        response = last.data if last.kind in TERMINAL else None
        frames = self._renderer.frames(entry, logged.last_seq)
        size = len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
        return RenderedEntry(logged.entry, frames, last.kind > Kind.IN_PROGRESS, response, size)


class RenderedTurns:
    """The turns that are followed on this node. One that nobody follows is forgotten."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[TurnRef, RenderedTurn] = WeakValueDictionary()

    def of(self, ref: TurnRef, spec: TurnSpec) -> RenderedTurn:
        """The turn's renderings; hold on to them while you follow it."""
        found = self._turns.get(ref)
        if found is None:
            found = self._turns[ref] = RenderedTurn(spec.response)
        return found


class TurnSubscription:
    """One turn from one position. It owns no task and no copy of the log: whoever iterates it moves it."""

    def __init__(
        self,
        subscriber: LogSubscriber,
        presence: Presence,
        rendered: RenderedTurn,
        ref: TurnRef,
        spec: TurnSpec,
        after: int,
        lane: str | None = None,
    ) -> None:
        self.ref = ref
        self.spec = spec
        self.lane = lane
        self.last_seq = after  # number of the last event that was handed out
        self.is_stalled = False  # the log does not answer at the moment
        self.has_begun = False  # an event beside created, queued and in_progress was handed out
        self.response: dict[str, Any] | None = None  # the finished one, once the terminal event was handed out
        self.sink: Sink[list[bytes]] | None = None  # takes frames at once while the iterator waits
        self._subscriber = subscriber
        self._presence = presence
        self._rendered = rendered
        self._lane_end = None if lane is None else lane_end(lane)
        self._unpaused = 0  # events that were handed out since others had a turn

    async def frames(self) -> AsyncGenerator[list[bytes]]:
        """Events after the position as they come, each once, up to the terminal one. Raises PositionLost.

        Frames that the sink takes are not yielded. `last_seq` is right whenever a list is handed out.
        """
        with self._presence.watching(self.ref):
            async with aclosing(self._subscriber.subscribe(self.ref, self.last_seq, self)) as updates:
                async for update in updates:
                    if isinstance(update, LogNotice):
                        self.is_stalled = update is LogNotice.STALLED
                        continue
                    for frames in self._batches(update):
                        yield frames
                        await self._pause(len(frames))

    def _batches(self, update: Sequence[LogEntry]) -> Iterator[list[bytes]]:
        """The new events of these entries, at most `AT_ONCE` together; moves the position with each."""
        for entries in portions(update, AT_ONCE):
            frames = [frame for logged in entries for frame in self._new_frames(logged)]
            for at in range(0, len(frames), AT_ONCE):
                self.last_seq = entries[-1].last_seq - max(len(frames) - at - AT_ONCE, 0)
                yield frames[at : at + AT_ONCE]

    async def _pause(self, handed_out: int) -> None:
        """A fast reader of a long log waits for nothing by itself: give others a turn of the loop."""
        self._unpaused += handed_out
        if self._unpaused >= AT_ONCE:
            self._unpaused = 0
            await asyncio.sleep(0)

    def try_push(self, entries: list[LogEntry], /) -> bool:
        """Hand a token to its reader where the log's answer comes in, without a turn of any task."""
        before, last_seq = self.last_seq, entries[-1].last_seq
        if self.sink is None or last_seq - before > AT_ONCE:
            return False
        if len(entries) == 1:
            frames = self._new_frames(entries[0])
        else:
            frames = [frame for logged in entries for frame in self._new_frames(logged)]
        self.last_seq = last_seq
        if self.sink.try_push(frames):
            return True
        self.last_seq = before
        return False

    async def end(self) -> dict[str, Any] | None:
        """Wait for the finished response; None when the position was behind its end. Raises PositionLost."""
        async for _ in self.frames():
            pass
        return self.response

    def _new_frames(self, logged: LogEntry) -> list[bytes]:
        rendered = self._rendered.entry(logged)
        self.has_begun = self.has_begun or rendered.has_begun
        if rendered.response is not None:
            self.response = rendered.response
        frames = rendered.frames
        above = logged.last_seq - self.last_seq
        if above < len(frames):  # the position is in the middle of this entry
            frames = frames[len(frames) - above :] if above > 0 else []
        return frames if self._lane_end is None else on_lane(frames, self._lane_end)


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
