"""A bare WebSocket client: what arrives is what is checked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}


class Client:
    """One socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def create(self, input: str, **fields: Any) -> None:
        """Ask."""
        await self.send({"type": "response.create", "input": input, **fields})

    async def send(self, event: dict[str, Any]) -> None:
        """Send one event."""
        await self.socket.send(json.dumps(event))

    async def event(self) -> dict[str, Any]:
        """The next event that is in the log."""
        while True:
            event: dict[str, Any] = json.loads(await self.socket.recv())
            if not event["type"].startswith("throughline:"):
                return event

    async def events(self) -> list[dict[str, Any]]:
        """All events up to the turn's end."""
        events = [await self.event()]
        while events[-1]["type"] not in ENDS:
            events.append(await self.event())
        return events


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client on an open socket."""
    async with websockets.connect(url, max_size=None) as socket:
        yield Client(socket)


def said(events: list[dict[str, Any]]) -> str:
    """The text of the deltas."""
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """The events' numbers."""
    return [event["sequence_number"] for event in events]
