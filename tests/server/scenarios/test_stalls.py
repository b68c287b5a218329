"""No message within the size limit holds up the event loop, whatever its shape.

Measured is the longest callback of the loop in CPU time of its thread, so that a busy machine does not count; the bound
is generous all the same. What these shapes took before was 100 to 600 ms, and a minute for the last.
"""

import asyncio
import time
from asyncio import events
from collections.abc import Iterator

import httpx2
import pytest

from tests.server.peer import PATIENCE, client, socket
from tests.server.raw import CONTINUATION, PING, TEXT, frame, raw
from tests.serving import Served
from tests.speed import slowness

SIZE = (1 << 20) - 1000  # bytes, just within the default limit
BOUND = 0.1  # seconds


class Stalls:
    """The longest callback so far, in seconds of CPU time."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.what = ""

    def note(self, seconds: float, handle: events.Handle) -> None:
        if seconds > self.longest:
            self.longest, self.what = seconds, repr(handle)


@pytest.fixture
def stalls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalls]:
    found = Stalls()
    run = events.Handle._run

    def timed(handle: events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        found.note(time.thread_time() - began, handle)

    monkeypatch.setattr(events.Handle, "_run", timed)
    yield found
    assert found.longest < BOUND * slowness(), found.what


def many(unit: str, size: int = SIZE) -> str:
    return f"[{','.join([unit] * (size // (len(unit) + 1)))}]"


SHAPES = {
    "items of nothing": '"input":' + many('{"type":"reasoning"}'),
    "messages of nothing": '"input":' + many('{"role":"user","content":""}'),
    "system items": '"input":' + many('{"role":"system","content":"a"}'),
    "parts": '"input":[{"role":"user","content":' + many('{"type":"text","text":""}') + "}]",
    "tools": '"input":"a","tools":' + many('{"type":"function","name":"a"}'),
    "small objects": '"input":"a","other":' + many("{}"),
    "deep lists": '"input":"a","other":' + many("[" * 90 + "]" * 90),
    "long text": '"input":"' + "a" * SIZE + '"',
    "stop strings": '"input":"a","stop":' + many('"a"'),
    "cut items of nothing": '"truncation":"auto","input":' + many('{"type":"reasoning"}'),
    "cut messages": '"truncation":"auto","input":' + many('{"role":"user","content":""}'),
}
assert all(len(body) <= 1 << 20 for body in SHAPES.values())


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_message_of_any_shape(served: Served, stalls: Stalls, shape: str) -> None:
    async with socket(served) as peer, client(served) as http:
        await peer.socket.send(f'{{"type":"response.create",{SHAPES[shape]}}}')
        await peer.turn()
        made = await http.post("responses", content=f"{{{SHAPES[shape]}}}")
        if made.status_code == 200:
            for path in ("", "/input_items?limit=100", "?stream=true"):
                assert await status(http, f"responses/{made.json()['id']}{path}") == 200
        await http.post("responses/input_tokens", content=f"{{{SHAPES[shape]}}}")
        await http.post("conversations", content="{" + SHAPES[shape].replace('"input"', '"items"') + "}")


async def status(http: httpx2.AsyncClient, path: str) -> int:
    """Asked again where this process was so busy that Redis' answer was late."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await http.get(path)
            if answer.status_code != 503:
                return answer.status_code
            await asyncio.sleep(0.1)


FLOODS = {
    "pings": frame(PING, b"") * 40_000,
    "pieces": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b"", fin=False) * 40_000,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_read_of_many_small_frames(served: Served, stalls: Stalls, flood: str) -> None:
    async with raw(served) as peer:
        peer.writer.write(FLOODS[flood])
        await peer.say("nonsense")
        async with asyncio.timeout(PATIENCE):
            await peer.frame()


async def test_a_message_that_arrives_in_slices_is_whole(served: Served) -> None:
    async with raw(served) as peer:
        await peer.say("response.create", input="a" * 100_000, max_output_tokens=1)
        while (event := await peer.event())["type"] != "response.incomplete":
            assert event["type"] != "error", event
        assert event["response"]["usage"]["input_tokens"] > 100_000
