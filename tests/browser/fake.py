"""A peer for the page that does what a test tells it to.

It speaks just enough of the protocol: one scripted answer per turn, kept as a log that any socket can read from any
position. The levers are the first fields of `Fake`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.browser.script import ENDS, Event, error, message, response, script

if TYPE_CHECKING:
    from collections.abc import Coroutine

READY = {"status": "ready", "engine": {"state": "ready", "seconds": 1.0, "model": "demo"}, "redis": {"state": "ok"}}
PATIENCE = 30


@dataclass
class Turn:
    """One answer as a log."""

    id: str
    conversation: str
    question: str
    log: list[Event] = field(default_factory=list)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)
    cancelled: bool = False
    # Set when a held turn may go on, to its end or to its cancellation.
    free: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        return bool(self.log) and self.log[-1]["type"] in ENDS

    async def append(self, event: Event) -> None:
        async with self.grown:
            self.log.append({**event, "sequence_number": len(self.log)})
            self.grown.notify_all()

    def cancel(self) -> None:
        self.cancelled = True
        self.free.set()


@dataclass
class Fake:
    """The server's state and its levers."""

    # What it answers, how many characters at a time.
    answer: str = "Hello from the fake."
    thoughts: str = ""
    chunk: int = 7
    # Seconds between two events.
    pace: float = 0.0
    # How a turn fails; None when it does not.
    failure: dict[str, Any] | None = None
    # Writes so many events, then waits for `release()`.
    hold_at: int | None = None
    # Takes a create and says nothing.
    silent: bool = False
    # Cuts the socket once after each of these events.
    drop_at: set[int] = field(default_factory=set)
    drop_code: int = 1011
    # Answers the next creates with these errors.
    refusals: list[dict[str, Any]] = field(default_factory=list)
    # Said before the events of a turn.
    notices: list[Event] = field(default_factory=list)
    readiness: dict[str, Any] = field(default_factory=lambda: dict(READY))
    # Whoever has not this key is turned away.
    key: str | None = None
    # False: no socket is accepted.
    up: bool = True

    turns: dict[str, Turn] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tickets: set[str] = field(default_factory=set)
    # Every frame and every path that came in.
    received: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    sockets: set[WebSocket] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    url: str = ""

    def release(self) -> None:
        self.hold_at = None
        for turn in self.turns.values():
            turn.free.set()

    async def drop_all(self, code: int = 1011) -> None:
        for socket in list(self.sockets):
            await socket.close(code)

    async def until_received(self, kind: str) -> None:
        async with asyncio.timeout(PATIENCE), self.heard:
            await self.heard.wait_for(lambda: any(frame["type"] == kind for frame in self.received))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def begin(self, create: dict[str, Any]) -> Turn:
        known = self.keys.get(create["idempotency_key"])
        if known:
            return self.turns[known]
        turn = Turn(f"resp_{next(self.numbers)}", create["conversation"], create["input"])
        self.turns[turn.id] = turn
        self.keys[create["idempotency_key"]] = turn.id
        self.conversations[turn.conversation]["active_response_id"] = turn.id
        self.items[turn.conversation].append(message(f"msg_q{turn.id}", "user", "input_text", turn.question))
        self.spawn(self.write(turn))
        return turn

    async def write(self, turn: Turn) -> None:
        for event in script(turn.id, self.answer, self.chunk, self.thoughts, self.failure):
            if self.hold_at == len(turn.log):
                await turn.free.wait()
            if turn.cancelled:
                await turn.append({"type": "response.incomplete", "response": response(turn.id, "cancelled")})
                break
            await turn.append(event)
            await asyncio.sleep(self.pace)  # the speed of the answer, which tests of scrolling and stopping set
        self.settle(turn)

    def settle(self, turn: Turn) -> None:
        self.conversations[turn.conversation]["active_response_id"] = None
        text = "".join(event["delta"] for event in turn.log if event["type"] == "response.output_text.delta")
        if text:
            self.items[turn.conversation].append(message(f"msg_{turn.id}", "assistant", "output_text", text))

    async def read(self, socket: WebSocket, turn: Turn, start: int) -> None:
        """Sends the log from `start` on, until the turn ends or a lever cuts the socket."""
        for position in itertools.count(start):
            async with turn.grown:
                await turn.grown.wait_for(lambda: len(turn.log) > position)  # noqa: B023
            await socket.send_json(turn.log[position])
            if position in self.drop_at:
                self.drop_at.discard(position)
                await socket.close(self.drop_code)
                return
            if turn.log[position]["type"] in ENDS:
                return


async def converse(socket: WebSocket) -> None:
    fake: Fake = socket.app.state.fake
    if not fake.up or not admitted(fake, socket):
        await socket.close(1011)
        return
    await socket.accept()
    fake.sockets.add(socket)
    try:
        while True:
            await obey(fake, socket, json.loads(await socket.receive_text()))
    except WebSocketDisconnect:
        pass
    finally:
        fake.sockets.discard(socket)


def admitted(fake: Fake, socket: WebSocket) -> bool:
    """A ticket lets in once."""
    ticket = socket.query_params.get("ticket", "")
    known = ticket in fake.tickets
    fake.tickets.discard(ticket)
    return fake.key is None or known


async def obey(fake: Fake, socket: WebSocket, frame: dict[str, Any]) -> None:
    if frame["type"] == "throughline:cancel":
        fake.turns[frame["response_id"]].cancel()
    elif frame["type"] == "throughline:resume":
        await resume(fake, socket, frame)
    elif fake.refusals:
        await socket.send_json(fake.refusals.pop(0))
    elif not fake.silent:
        await create(fake, socket, frame)
    async with fake.heard:
        fake.received.append(frame)
        fake.heard.notify_all()


async def create(fake: Fake, socket: WebSocket, frame: dict[str, Any]) -> None:
    turn = fake.begin(frame)
    for notice in fake.notices:
        await socket.send_json(notice)
    fake.spawn(quietly(fake.read(socket, turn, 0)))


async def resume(fake: Fake, socket: WebSocket, frame: dict[str, Any]) -> None:
    turn = fake.turns.get(frame["response_id"])
    if turn is None:
        await socket.send_json(error(404, "stream_position_lost", "The position is no longer there."))
        return
    start = frame.get("starting_after", -1) + 1
    resumed = {"type": "throughline:resumed", "response_id": turn.id, "status": "in_progress"}
    await socket.send_json({**resumed, "sequence_number": max(start - 1, 0), "last_sequence_number": len(turn.log) - 1})
    fake.spawn(quietly(fake.read(socket, turn, start)))


async def quietly(reading: Coroutine[Any, Any, None]) -> None:
    """The reader went away: nothing is lost, the log stays."""
    try:
        await reading
    except (RuntimeError, WebSocketDisconnect):
        return
