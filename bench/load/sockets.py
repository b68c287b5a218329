"""A WebSocket and its lanes: one turn at a time in each, all on one connection."""

from asyncio import Future
from collections.abc import Mapping
from time import perf_counter

import msgspec

from bench.load.events import EventKind, response_event
from bench.load.observer import TurnFailed, TurnObserver
from bench.wire import ABNORMAL, Wire


class Lane:
    """One of a socket's lanes; a nameless one is the default lane."""

    def __init__(self, socket: "Socket", name: str | None) -> None:
        self.name = name
        self.usable = True
        self.observer: TurnObserver | None = None  # the turn under way
        self._socket = socket

    async def ask(self, body: dict[str, object], observer: TurnObserver) -> None:
        """Send a turn and return at its end; how it went is in the observer's sample. Raises TurnFailed."""
        if not self.usable:
            raise TurnFailed("connection lost")
        named = body if self.name is None else body | {"stream_id": self.name}
        raw = msgspec.json.encode(named)
        self.observer = observer
        observer.sample.sent = perf_counter()
        self._socket.wire.send(raw)
        await observer.wait_ended()
        self.observer = None

    def close(self) -> None:
        """Give it up; the socket goes with the last of its lanes."""
        self.usable = False
        self._socket.leave()


class Socket:
    """Hands each event to the turn that it belongs to."""

    def __init__(self, lanes: int) -> None:
        names: list[str | None] = [None] if lanes == 1 else [f"lane{index}" for index in range(lanes)]
        self.lanes: dict[str | None, Lane] = {name: Lane(self, name) for name in names}
        self.wire = Wire(self._text)
        self.wire.over.add_done_callback(self._over)

    def leave(self) -> None:
        """Close the connection once none of its lanes is usable."""
        if not any(lane.usable for lane in self.lanes.values()):
            self.wire.abort()

    def _text(self, payload: bytes, arrived: float) -> None:
        try:
            seen = response_event(payload)
        except msgspec.DecodeError as error:
            self._break(f"bad {type(error).__name__}", arrived)
            self.wire.abort()
            return
        lane = self.lanes.get(seen.lane)
        if lane is not None and lane.observer is not None:
            lane.observer.observe(seen, arrived)
        elif seen.kind is EventKind.ERROR:
            self._break(seen.reason, arrived)  # about the connection, not about a turn

    def _over(self, code: Future[int]) -> None:
        lost = code.cancelled() or code.result() == ABNORMAL
        self._break("connection lost" if lost else f"closed {code.result()}", perf_counter())

    def _break(self, kind: str, now: float) -> None:
        for lane in self.lanes.values():
            lane.usable = False
            if lane.observer is not None:
                lane.observer.fail(kind, now)


async def open_lanes(url: str, lanes: int, headers: Mapping[str, str]) -> list[Lane]:
    """Connect. Raises OSError, TimeoutError."""
    socket = Socket(lanes)
    await socket.wire.open(url, headers)
    return list(socket.lanes.values())
