"""One socket's side of the protocol: text frames in, commands out. No I/O: `server.web.websocket` carries them out.

Lanes are first in, first out; different lanes run at once. The connection remembers the latest unkept response of
each lane, so that `store: false` chains work; that memory dies with the socket.
"""

import re
from typing import Any

import msgspec
import orjson

from server.protocol.errors import WireError, frame, invalid
from server.protocol.extensions import CancelRequest, ResumeRequest
from server.protocol.request import LANE_PATTERN, Request, convert, fingerprint, parse_object, parse_request

IN_FLIGHT = 16  # turns that run or are shown at once
NAMED_LANES = 32
WAITING = 64  # messages that wait behind others in their lanes; and questions without an answer yet
AGE_LIMIT = WireError(
    400,
    "websocket_connection_limit_reached",
    "This connection reached its age limit of 60 minutes. Open a new one to continue.",
)


class Remembered(msgspec.Struct, frozen=True):
    """A finished `store: false` turn: its id and everything that was said up to its end."""

    id: str
    items: tuple[dict[str, Any], ...]


class Send(msgspec.Struct, frozen=True):
    """Command: send this text frame."""

    frame: str


class Start(msgspec.Struct, frozen=True):
    """Command: create a turn. `remembered` is the unkept response it continues."""

    lane: str | None
    request: Request
    fingerprint: str
    remembered: Remembered | None


class Find(msgspec.Struct, frozen=True):
    """Command: look a turn up, then call `found`, or send an error. `lane` is what the client wished for."""

    response_id: str
    after: int
    lane: str | None


class Follow(msgspec.Struct, frozen=True):
    """Command: show a turn on a lane, from the event after number `after`."""

    lane: str | None
    response_id: str
    after: int


class Cancel(msgspec.Struct, frozen=True):
    """Command: ask for a turn's end."""

    response_id: str


class Close(msgspec.Struct, frozen=True):
    """Command: close the socket with a code that says what the client should do next."""

    code: int
    reason: str


Command = Send | Start | Find | Follow | Cancel | Close


class Lane:
    """A queue of jobs, one at a time."""

    __slots__ = ("latest", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Start | Follow] = []
        self.running: Start | Follow | None = None
        self.latest: Remembered | None = None  # of the last finished turn, if that was unkept


class SteerEvent(msgspec.Struct, frozen=True):
    """`response.steer`."""

    previous_response_id: str
    input: str | list[dict[str, Any]]


class Connection:
    """The state of one socket."""

    __slots__ = ("in_flight", "lanes", "last_sent", "unanswered", "waiting")

    def __init__(self) -> None:
        self.lanes: dict[str | None, Lane] = {None: Lane()}
        self.in_flight = 0
        self.waiting = 0  # frames in all lanes, not yet started
        self.unanswered = 0  # questions beside the lanes: a `Find` or a `Cancel`
        self.last_sent = 0  # number of the last event that was sent; events that are not in the log repeat it

    # -- what the client says ------------------------------------------------------------------------------------

    def receive(self, text: str) -> list[Command]:
        """Take one text frame; what is wrong with it is answered by an error frame, never raised."""
        body: dict[str, Any] = {}
        lane: str | None = None
        try:
            body = parse_object(text)
            lane = _lane(body)
            return self._dispatch(body, lane)
        except WireError as error:
            self._refused(body, lane)
            return [Send(frame(error, lane))]

    def receive_binary(self) -> list[Command]:
        """Binary frames are not part of the protocol."""
        return [Send(frame(invalid("Binary frames are not supported; send JSON text frames.")))]

    def resume(self, response_id: str, after: str | None, lane: str | None) -> list[Command]:
        """A resume from the query string, where nothing can also be said by an empty value."""
        known: str | None = None
        try:
            known = _lane({"stream_id": lane or None})
            return self._ask(Find(response_id, position(after), known))
        except WireError as error:
            return [Send(frame(error, known))]

    # -- what became of the commands -----------------------------------------------------------------------------

    def found(self, find: Find, lane: str | None) -> list[Command]:
        """The turn exists; `lane` is the one it was created on, unless the client wished for another."""
        lane = lane if find.lane is None else find.lane
        try:
            return self._enqueue(lane, Follow(lane, find.response_id, find.after))
        except WireError as error:
            return [Send(frame(error, lane))]

    def answered(self) -> None:
        """A `Find` or a `Cancel` was answered, or refused."""
        self.unanswered -= 1

    def failed(self, lane: str | None, error: WireError) -> list[Command]:
        """A job ended before its turn was admitted, or without a terminal event."""
        job = self.lanes[lane].running
        if isinstance(job, Start):
            self._evict(lane, job.request.previous_response_id)
        return [Send(frame(error, lane)), *self._next(lane)]

    def ended(self, lane: str | None, latest: Remembered | None) -> list[Command]:
        """The lane's turn was shown to its end."""
        self.lanes[lane].latest = latest
        return self._next(lane)

    def expire(self) -> list[Command]:
        """The connection is too old."""
        return [Send(frame(AGE_LIMIT)), Close(1000, "connection age limit")]

    # -- inside --------------------------------------------------------------------------------------------------

    def _dispatch(self, body: dict[str, Any], lane: str | None) -> list[Command]:
        match body.get("type"):
            case "response.create":
                return self._create(body, lane)
            case "throughline:resume":
                event = convert(body, ResumeRequest)
                return self._ask(Find(event.response_id, _checked(event.starting_after), event.stream_id))
            case "throughline:cancel":
                return self._ask(Cancel(convert(body, CancelRequest).response_id))
            case "response.steer":
                return [Send(self._steer_failed(convert(body, SteerEvent), lane))]
            case None:
                raise invalid("Missing required parameter: 'type'.", "type", "missing_required_parameter")
            case other:
                raise invalid(f"Unknown event type '{str(other)[:64]}'.", "type")

    def _create(self, body: dict[str, Any], lane: str | None) -> list[Command]:
        return self._enqueue(lane, Start(lane, parse_request(body), fingerprint(body), None))

    def _ask(self, question: Find | Cancel) -> list[Command]:
        if self.unanswered >= WAITING:
            raise _too_many()
        self.unanswered += 1
        return [question]

    def _enqueue(self, lane: str | None, job: Start | Follow) -> list[Command]:
        if self.waiting >= WAITING:
            raise _too_many()
        self._admit_lane(lane)
        self.lanes[lane].waiting.append(job)
        self.waiting += 1
        return self._pump()

    def _admit_lane(self, lane: str | None) -> None:
        if lane in self.lanes:
            return
        if len(self.lanes) > NAMED_LANES:
            message = f"A connection has at most {NAMED_LANES} named streams."
            raise WireError(400, "websocket_stream_limit_reached", message, param="stream_id")
        self.lanes[lane] = Lane()

    def _pump(self) -> list[Command]:
        commands: list[Command] = []
        for lane in self.lanes.values():
            if self.in_flight >= IN_FLIGHT:
                break
            if lane.running is None and lane.waiting:
                lane.running = lane.waiting.pop(0)
                self.waiting -= 1
                self.in_flight += 1
                commands.append(self._ready(lane.running))
        return commands

    def _ready(self, job: Start | Follow) -> Command:
        """What runs next, with what this connection alone remembers of the turn before it."""
        if isinstance(job, Follow) or (known := self._remembered(job.request.previous_response_id)) is None:
            return job
        return msgspec.structs.replace(job, remembered=known)

    def _remembered(self, id: str | None) -> Remembered | None:
        latest = (lane.latest for lane in self.lanes.values())
        return next((known for known in latest if known is not None and known.id == id), None)

    def _refused(self, body: dict[str, Any], lane: str | None) -> None:
        """A frame that was never queued; behind others, it would have continued from what they leave."""
        at = self.lanes.get(lane)
        if body.get("type") == "response.create" and at is not None and at.running is None and not at.waiting:
            self._evict(lane, body.get("previous_response_id"))

    def _evict(self, lane: str | None, id: Any) -> None:
        """A continuation failed: what it named is not to be continued from this lane's memory again."""
        at = self.lanes[lane]
        if at.latest is not None and at.latest.id == id:
            at.latest = None

    def _next(self, lane: str | None) -> list[Command]:
        at = self.lanes[lane]
        at.running = None
        self.in_flight -= 1
        self.lanes[lane] = self.lanes.pop(lane)  # to the end: lanes take turns when all slots are taken
        return self._pump()

    def _steer_failed(self, event: SteerEvent, lane: str | None) -> str:
        steer = {"input": event.input, "previous_response_id": event.previous_response_id}
        error = {
            "type": "invalid_request_error",
            "code": "steering_not_supported",
            "message": "This server does not steer running responses yet; send the input as the next turn.",
        }
        failed = {"type": "response.steer.failed", "sequence_number": self.last_sent, "steer": steer, "error": error}
        return orjson.dumps(failed if lane is None else failed | {"stream_id": lane}).decode()


def _too_many() -> WireError:
    message = f"More than {WAITING} messages wait on this connection."
    return WireError(429, "rate_limit_exceeded", message, type="rate_limit_error", headers={"retry-after": "1"})


def _lane(body: dict[str, Any]) -> str | None:
    lane = body.get("stream_id")
    if lane is None:
        return None
    if not isinstance(lane, str) or not re.fullmatch(LANE_PATTERN, lane):
        message = "Invalid 'stream_id': 1 to 256 characters out of A-Z, a-z, 0-9, '_', '.' and '-'."
        raise WireError(400, "invalid_stream_id", message, param="stream_id")
    return lane


def position(after: str | None) -> int:
    """A position from a query string."""
    if after is None or after == "":
        return -1
    if not after.isascii() or not after.isdigit() or len(after) > 15:
        raise invalid("Invalid 'starting_after': expected the number of an event.", "starting_after")
    return int(after)


def _checked(after: int | None) -> int:
    """A position from an event."""
    if after is not None and not 0 <= after < 10**15:
        raise invalid("Invalid 'starting_after': expected the number of an event.", "starting_after")
    return -1 if after is None else after
