"""A client's side of one WebSocket, and of HTTP, with few words."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.serving import Served

Event = dict[str, Any]
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})
PATIENCE = 60.0  # seconds until a test is told that something never came: many, for machines that are slow and busy


class Peer:
    """A socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, type: str, **fields: Any) -> None:
        await self.socket.send(orjson.dumps({"type": type, **fields}).decode())

    async def ask(self, input: Any, **fields: Any) -> None:
        await self.send("response.create", input=input, **fields)

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE):
            event: Event = orjson.loads(await self.socket.recv())
        return event

    async def until(self, *types: str) -> list[Event]:
        """Everything up to the first event of one of these types."""
        events = [await self.next()]
        while events[-1]["type"] not in types:
            events.append(await self.next())
        return events

    async def until_said(self, characters: int) -> list[Event]:
        """Everything up to the delta with which so much text is there; how many events that is depends on speed."""
        events = await self.until("response.output_text.delta")
        while len(said(events)) < characters:
            events.append(await self.next())
        return events

    async def turn(self) -> list[Event]:
        """Everything up to a terminal event or an error."""
        return await self.until(*ENDS)

    async def error(self) -> Event:
        """The next event, which is an error."""
        event = await self.next()
        assert event["type"] == "error", event
        body: Event = event["error"]
        return body | {"status": event["status"], "stream_id": event.get("stream_id")}

    async def answer(self, input: Any, **fields: Any) -> Event:
        """The response at the end of a whole turn."""
        await self.ask(input, **fields)
        return final(await self.turn())

    async def closed(self) -> int:
        """The close code."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        return self.socket.close_code or 0


@asynccontextmanager
async def socket(served: Served, query: str = "", **options: Any) -> AsyncIterator[Peer]:
    options = {"max_queue": None, "close_timeout": 1} | options
    async with connect(served.ws + query, max_size=None, compression=None, **options) as connection:
        yield Peer(connection)


@asynccontextmanager
async def client(served: Served, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=served.http + "/", timeout=PATIENCE, **options) as http:
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def final(events: Iterable[Event]) -> Event:
    *_, last = events
    assert "response" in last, last
    response: Event = last["response"]
    return response


def text_of(response: Event) -> str:
    parts = [part for item in response["output"] for part in item.get("content") or ()]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def said(events: Iterable[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def numbered(events: Iterable[Event]) -> list[Event]:
    """The events of the log, without ours."""
    return [event for event in events if not event["type"].startswith("throughline:")]


def numbers(events: Iterable[Event]) -> list[int]:
    return [event["sequence_number"] for event in numbered(events)]


def sse(text: str) -> list[Event]:
    """The events of an SSE body."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [orjson.loads(line) for line in lines]
