"""A client that does not rest until it has its answer: it reconnects, resumes, and asks again with the same key."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import perf_counter
from typing import Any

import msgspec
import orjson

from bench.faults.ledger import Ledger
from bench.wire import OnText, Wire

AGAIN = frozenset({"server_overloaded", "model_loading", "rate_limit_exceeded"})  # errors that ask for another try
QUIET = 20.0  # seconds without a frame, of which the server sends one every 15, after which a socket counts as dead
CONNECT = 5.0  # seconds
FIRST, FACTOR, LONGEST = 0.05, 2.0, 1.0  # seconds before the first new try, and how they grow

WireFactory = Callable[[OnText], Wire]


class Question(msgspec.Struct, frozen=True):
    """What is asked, maybe after another answer. `name` says which reference its answer has."""

    name: str
    text: str
    after: str | None = None  # the id of a response
    more: Mapping[str, Any] = {}  # further fields of the request


class Client:
    """One person: one turn at a time. The tries go to the addresses in turn."""

    def __init__(self, urls: Sequence[str], random: Random, make: WireFactory = Wire) -> None:
        self.urls = urls
        self.random = random
        self.turn: Ledger | None = None  # that runs now
        self.closes: Counter[int] = Counter()  # codes with which sockets ended under a turn
        self.resumed = 0.0  # when a server last said that it goes on from our position
        self._make = make
        self._wire: Wire | None = None
        self._frame = b""  # that asks for the turn; empty: it is only looked at
        self._tries = 0  # in a row that brought nothing
        self._opened = 0  # sockets
        self._wakeup = asyncio.Event()  # the turn is over, was refused, or its socket is

    async def ask(self, question: Question, key: str, seconds: float) -> Ledger:
        """A turn up to its end, or to the deadline. Cancellation cuts the socket."""
        body = {"type": "response.create", "input": question.text, "idempotency_key": key, **question.more}
        if question.after is not None:
            body["previous_response_id"] = question.after
        self._frame = orjson.dumps(body)
        return await self._follow(Ledger(question.name, perf_counter()), seconds)

    async def follow(self, name: str, id: str, seconds: float) -> Ledger:
        """The same for a turn that somebody else asked for, from its first event."""
        self._frame = b""
        ledger = Ledger(name, perf_counter())
        ledger.id = id
        return await self._follow(ledger, seconds)

    def stop(self) -> None:
        """Ask for the end of the running turn."""
        if self.turn is not None and self._wire is not None:
            self.turn.stopped = True
            self._wire.send(orjson.dumps({"type": "throughline:cancel", "response_id": self.turn.id}))

    def cut(self) -> None:
        """Lose the socket, as by accident."""
        if self._wire is not None:
            self._wire.abort()

    def disconnect(self) -> None:
        """Close the socket, if there is one; no loss is counted."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    async def _follow(self, ledger: Ledger, seconds: float) -> Ledger:
        self.turn = ledger
        self._tries = 0
        try:
            async with asyncio.timeout(seconds):
                while not ledger.over:
                    await self._try(ledger)
        except TimeoutError:
            self.disconnect()
        except asyncio.CancelledError:
            self.disconnect()
            raise
        finally:
            self.turn = None
        return ledger

    async def _try(self, ledger: Ledger) -> None:
        """One socket's part of a turn; afterwards a pause where there was nothing but trouble."""
        self._wakeup.clear()  # before there is a socket: all that is missed may come with the answer to its handshake
        try:
            wire = await self._socket(ledger)
        except (OSError, TimeoutError):
            await self._pause()
            return
        if not ledger.id:
            wire.send(self._frame)
        await self._listen(wire, ledger)
        if not ledger.over:
            self.disconnect()
            await self._pause()

    async def _socket(self, ledger: Ledger) -> Wire:
        """The old one for a new question, if it lives; else a new one. Raises OSError, TimeoutError."""
        if self._wire is not None and not self._wire.transport.is_closing() and not ledger.id:
            return self._wire
        self.disconnect()
        url = self.urls[self._opened % len(self.urls)]
        self._opened += 1
        query = f"?resume={ledger.id}" if ledger.id else ""
        query += f"&starting_after={ledger.number}" if ledger.id and ledger.number >= 0 else ""
        wire = self._make(self._on_event)
        await wire.open(url + query, timeout=CONNECT)
        wire.over.add_done_callback(lambda over: self._on_closed(wire, over.result()))
        self._wire = wire
        return wire

    async def _listen(self, wire: Wire, ledger: Ledger) -> None:
        """Until there is news, or nothing for too long."""
        while not self._wakeup.is_set() and (left := wire.arrived + QUIET - perf_counter()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._wakeup.wait()
            except TimeoutError:
                continue

    async def _pause(self) -> None:
        """The first one is short; all are drawn at random, so that many clients come one by one."""
        longest = min(LONGEST, FIRST * FACTOR**self._tries)
        self._tries += 1
        await asyncio.sleep(self.random.uniform(0, longest))

    def _on_closed(self, wire: Wire, code: int) -> None:
        if wire is not self._wire:
            return
        if self.turn is not None and not self.turn.over:
            self.closes[code] += 1
            self.turn.cuts.append(perf_counter())
        self._wakeup.set()

    def _on_event(self, payload: bytes, arrived: float) -> None:
        ledger, event = self.turn, orjson.loads(payload)
        if ledger is None:
            return
        if event["type"].startswith("response."):
            self._tries = 0
            ledger.add(event, arrived)
        elif event["type"] == "throughline:resumed":
            self.resumed = arrived
        elif event["type"] == "error":
            self._refused(ledger, event["error"]["code"])
        if ledger.over:
            self._wakeup.set()

    def _refused(self, ledger: Ledger, code: str) -> None:
        if code in AGAIN:
            ledger.refused.append(code)
        else:
            ledger.end = code
        self._wakeup.set()


class Fragile(Wire):
    """A socket that is cut after so many bytes of what the server sends, its answer to the upgrade among them."""

    def __init__(self, on_text: OnText, allowance: int) -> None:
        super().__init__(on_text)
        self._left = allowance

    def data_received(self, data: bytes) -> None:
        """What lies beyond the cut was never received."""
        super().data_received(data[: self._left])
        self._left -= len(data)
        if self._left <= 0:
            self.abort()
