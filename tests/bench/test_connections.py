"""Sockets that do nothing, and sockets that all come back."""

import asyncio
import re

import pytest
import uvloop

from bench import connections
from bench.connections import Asked, Resuming, a_node, idle, number, storm, storm_summary
from bench.wire import Refused, Wire

pytestmark = pytest.mark.redis


def event(kind: str, number: int) -> bytes:
    return f'{{"type":"{kind}","sequence_number":{number}}}'.encode()


def test_an_events_number_is_found() -> None:
    assert number(event("response.created", 0)) == 0
    assert number(event("response.completed", 1234)) == 1234
    assert number(b'{"type":"error"}') == -1


async def resumed(*events: tuple[str, int, float], after: int = 4) -> Resuming:
    """A client that was given these."""
    client = Resuming(Asked("r", 7), after)
    for kind, index, arrived in events:
        client._text(event(kind, index), arrived)
    return client


TEXT, END = "response.output_text.delta", "response.completed"


async def test_the_first_new_event_and_the_last_are_timed() -> None:
    client = await resumed(("throughline:resumed", 4, 1.0), (TEXT, 5, 2.0), (TEXT, 6, 3.0), (END, 7, 4.0))
    assert (client.first, client.last, client.error) == (2.0, 4.0, None)


@pytest.mark.parametrize("numbers", [(4, 5, 6), (6, 7, 8), (5, 7, 8), (5, 5, 6)])
async def test_a_gap_or_a_repetition_is_an_error(numbers: tuple[int, ...]) -> None:
    client = await resumed(*((TEXT, index, 1.0) for index in numbers))
    assert client.error == "wrong number"


async def test_a_lost_position_is_an_error() -> None:
    assert (await resumed(("error", 5, 1.0))).error == "error event"


async def test_failures_are_counted_in_the_line() -> None:
    good = await resumed((TEXT, 5, 1.5), (TEXT, 6, 1.6), (END, 7, 2.0))
    good.began = 1.0
    bad = await resumed((TEXT, 9, 1.5))
    bad.began = 1.1
    assert storm_summary([good, bad], 1) == (
        "1 of 2 resumed, 1 x wrong number; first event after p50 0.50 p99 0.50 max 0.50 s, "
        "all 3 events of 1 answers after 1.00 s"
    )


def test_idle_sockets_of_a_real_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "QUIET", 0.1)
    with a_node() as node:
        line = uvloop.run(idle(node, 50))
    assert re.match(r"50 of 50 sockets open, -?[\d.]+ KiB each \(\d+ MiB with 5, ", line)


def test_a_storm_on_a_real_node() -> None:
    with a_node() as node:
        line = uvloop.run(storm(node, 40, turns=5, tokens=30))
    assert line.startswith("40 of 40 resumed; first event after")


def test_a_connection_without_a_key_is_refused() -> None:
    """So that idle sockets are authenticated ones."""

    async def knock(url: str) -> None:
        await Wire(lambda payload, arrived: None).open(url)

    with a_node() as node, pytest.raises(Refused, match="401"):
        asyncio.run(knock(node.url))
