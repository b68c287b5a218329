"""Frames of clients, and what a connection made of them."""

from typing import Any

import orjson

from server.protocol.connection import Command, Connection, Follow, Remembered, Send, Start
from tests.server.protocol import sdk

OLD = Remembered("resp_old", b'[{"type":"message","role":"user","content":"Hi"}]')
NEW = Remembered("resp_new", b'[{"type":"message","role":"user","content":"Ho"}]')


def create(**fields: Any) -> str:
    return orjson.dumps({"type": "response.create", "input": "Hi", **fields}).decode()


def only_start(commands: list[Command]) -> Start:
    [command] = commands
    assert isinstance(command, Start)
    return command


def only_error(commands: list[Command]) -> dict[str, Any]:
    """The one error frame, read as the SDK reads it."""
    [command] = commands
    assert isinstance(command, Send)
    event: dict[str, Any] = orjson.loads(command.frame)
    assert event["type"] == "error"
    sdk.read_event(event)
    return event


def lanes_of(commands: list[Command]) -> list[str | None]:
    return [command.lane for command in commands if isinstance(command, Start | Follow)]


def continued(connection: Connection, remembered: Remembered, lane: str | None = None) -> Start:
    """Run a turn to its end on a lane, then ask for its continuation there."""
    connection.receive(create(stream_id=lane, store=False))
    connection.ended(lane, remembered)
    return only_start(connection.receive(create(stream_id=lane, store=False, previous_response_id=remembered.id)))
