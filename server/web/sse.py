"""A turn's events as server-sent events (WHATWG HTML, 9.2)."""

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.responses import Response, StreamingResponse

from server.protocol import errors
from server.protocol.errors import WireError
from server.store.errors import PositionLost, StoreError
from server.turns.subscription import TurnSubscription
from server.web.callers import WaitingCallers, stopping

KEEP_ALIVE = 15.0  # seconds between comments on a quiet stream
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # the second: nginx must not hold events back
LINE_ENDS = tuple((char.encode(), b"\\u%04x" % ord(char)) for char in "\x85\u2028\u2029")


def event_stream(subscription: TurnSubscription, callers: WaitingCallers) -> Response:
    """The events of a turn from the subscription's position, for as long as the client reads them."""
    return StreamingResponse(_events(subscription, callers), media_type="text/event-stream", headers=HEADERS)


def empty_stream() -> Response:
    """The head of such a stream, for those who ask for nothing else."""
    return Response(media_type="text/event-stream", headers=HEADERS)


async def _events(subscription: TurnSubscription, callers: WaitingCallers) -> AsyncIterator[bytes]:
    """Frames as they come, comments where nothing comes; an error is the last event."""
    try:
        async for frames in quietly(subscription.frames(), KEEP_ALIVE, callers):
            yield one_line_each(b"".join(map(_event, frames))) if frames else b": keep-alive\n\n"
    except (PositionLost, StoreError, WireError) as error:
        yield one_line_each(_error(error))


async def quietly(
    frames: AsyncIterator[list[bytes]], quiet: float, callers: WaitingCallers
) -> AsyncIterator[list[bytes]]:
    """The same, with an empty list whenever nothing came for `quiet` seconds.

    Raises WireError 503 once `callers` may wait no longer.
    """
    following = asyncio.ensure_future(anext(frames, None))
    try:
        with callers.waiting(lambda: following.cancel()):  # the one that is followed then
            while not callers.are_sent_away:
                await asyncio.wait({following}, timeout=quiet)
                if not following.done():
                    yield []
                    continue
                if following.cancelled():
                    break
                value = following.result()
                if value is None:
                    return
                following = asyncio.ensure_future(anext(frames, None))
                yield value
        raise stopping()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def one_line_each(events: bytes) -> bytes:
    """The same JSON with the line ends of Unicode escaped.

    JSON may hold them raw and the standard's lines do not end there, but those of many a client do, as `str.splitlines`
    and what is built on it. Bytes are looked for one by one first: that is quick where there are none.
    """
    if events.isascii():
        return events
    for raw, escaped in LINE_ENDS:
        if raw[-1] in events and raw in events:
            events = events.replace(raw, escaped)
    return events


def _event(frame: bytes) -> bytes:
    name = frame[9 : frame.index(b'"', 9)]
    return b"event: %b\ndata: %b\n\n" % (name, frame)


def _error(error: PositionLost | StoreError | WireError) -> bytes:
    """As the SDK reads it: flat, where a WebSocket's is nested."""
    if isinstance(error, WireError):
        wire = error
    elif isinstance(error, PositionLost):
        wire = errors.position_lost(str(error))
    else:
        wire = errors.overloaded("The log is not available.")
    event = {"type": "error", "sequence_number": 0, "code": wire.code, "message": wire.message, "param": wire.param}
    return _event(orjson.dumps(event))
