"""One socket's side of the protocol: text frames in, commands out. No I/O: `server.web.websocket` carries them out.

Lanes are first in, first out; different lanes run at once. The connection remembers the latest unkept response of
each lane, so that `store: false` chains work; that memory dies with the socket.

A frame is read in two steps: `read_frame` looks at the text alone, and may run in a thread; `Connection.take` puts what
came out of it where it belongs. What must wait in its lane is kept as text and read again when its turn comes, since
what a text is read to may take thirty times its size.
"""

import re
from typing import Any

import msgspec
import orjson

from server.protocol.budget import ByteShare, rate_limited, too_many_bytes
from server.protocol.errors import WireError, frame, invalid
from server.protocol.extensions import CancelRequest, ResumeRequest
from server.protocol.ids import check_id
from server.protocol.request import (
    LANE_PATTERN,
    Request,
    convert,
    fingerprint,
    memory_size,
    parse_object,
    parse_request,
)

IN_FLIGHT = 16  # turns that run or are shown at once
NAMED_LANES = 32
WAITING = 64  # messages that wait behind others in their lanes; and questions without an answer yet
WAITING_BYTES = 4 * 1024 * 1024  # of such messages; a single one may be longer
REMEMBERED_BYTES = 8 * 1024 * 1024  # of unkept turns; beyond it the lane that ended longest ago is forgotten
REREAD_BYTES = 16 * 1024  # of a message that waited, up to which it is read again on the spot
AGE_LIMIT = WireError(
    400,
    "websocket_connection_limit_reached",
    "This connection reached its age limit of 60 minutes. Open a new one to continue.",
)


class Remembered(msgspec.Struct, frozen=True):
    """A finished `store: false` turn: its id and everything that was said up to its end, as a JSON list of items."""

    id: str
    packed: bytes

    @property
    def items(self) -> tuple[dict[str, Any], ...]:
        """What was said, read anew each time."""
        return tuple(orjson.loads(self.packed))


class Send(msgspec.Struct, frozen=True):
    """Command: send this text frame."""

    frame: str


class Start(msgspec.Struct, frozen=True):
    """Command: create a turn. `remembered` is the unkept response it continues."""

    lane: str | None
    request: Request
    fingerprint: str
    remembered: Remembered | None
    size: int = 0  # bytes of the frame
    weight: int = 0  # bytes that it takes in memory, about


class Reread(msgspec.Struct, frozen=True):
    """Command: read this frame again, whose turn has come, and do what it asks for."""

    lane: str | None
    text: bytes
    remembered: Remembered | None

    def start(self, read: "ReadFrame") -> Start:
        """What the frame asks for: it was read once before, when it came, and was without fault."""
        assert isinstance(read.content, Start)
        return msgspec.structs.replace(read.content, remembered=self.remembered)


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


Command = Send | Start | Reread | Find | Follow | Cancel | Close


class WaitingFrame(msgspec.Struct, frozen=True):
    """A `response.create` that was read without fault and waits in its lane."""

    text: bytes
    previous: str | None  # `previous_response_id`


class Running(msgspec.Struct, frozen=True):
    """What is kept of a lane's job while it runs: the response that it continues. None for a turn that is shown."""

    previous: str | None


class Lane:
    """A queue of jobs, one at a time."""

    __slots__ = ("latest", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: list[WaitingFrame | Follow] = []
        self.running: Running | None = None
        self.latest: Remembered | None = None  # of the last finished turn, if that was unkept


class SteerEvent(msgspec.Struct, frozen=True):
    """`response.steer`."""

    previous_response_id: str
    input: str | list[dict[str, Any]]


class ReadFrame(msgspec.Struct, frozen=True):
    """A frame by itself, before it meets the connection that it came on."""

    lane: str | None
    content: Start | Find | Cancel | SteerEvent | WireError
    is_create: bool = False  # a `response.create`, with or without fault
    previous: str | None = None  # its `previous_response_id`


def read_frame(text: str) -> ReadFrame:
    """Read and check one text frame; what is wrong with it becomes its content, and is not raised."""
    body: dict[str, Any] = {}
    lane: str | None = None
    content: Start | Find | Cancel | SteerEvent | WireError
    try:
        body = parse_object(text)
        lane = _lane(body)
        content = _content(text, body, lane)
    except WireError as error:
        content = error
    previous = body.get("previous_response_id")
    is_create = body.get("type") == "response.create"
    return ReadFrame(lane, content, is_create, previous if isinstance(previous, str) else None)


def _content(text: str, body: dict[str, Any], lane: str | None) -> Start | Find | Cancel | SteerEvent:
    match body.get("type"):
        case "response.create":
            return Start(lane, parse_request(body), fingerprint(body), None, len(text), memory_size(text))
        case "throughline:resume":
            event = convert(body, ResumeRequest)
            return Find(check_id("response", event.response_id), _checked(event.starting_after), event.stream_id)
        case "throughline:cancel":
            return Cancel(check_id("response", convert(body, CancelRequest).response_id))
        case "response.steer":
            return convert(body, SteerEvent)
        case None:
            raise invalid("Missing required parameter: 'type'.", "type", "missing_required_parameter")
        case other:
            raise invalid(f"Unknown event type '{str(other)[:64]}'.", "type")


class Connection:
    """The state of one socket. `waiting_share` and `remembered_share` are what it may have of the node's budgets."""

    __slots__ = ("_remembered_share", "_waiting_share", "in_flight", "lanes", "last_sent", "unanswered", "waiting")

    def __init__(self, waiting_share: ByteShare | None = None, remembered_share: ByteShare | None = None) -> None:
        self.lanes: dict[str | None, Lane] = {None: Lane()}
        self.in_flight = 0
        self.waiting = 0  # frames in all lanes, not yet started
        self.unanswered = 0  # questions beside the lanes: a `Find` or a `Cancel`
        self.last_sent = 0  # number of the last event that was sent; events that are not in the log repeat it
        self._waiting_share = waiting_share or ByteShare(WAITING_BYTES)
        self._remembered_share = remembered_share or ByteShare(REMEMBERED_BYTES)

    # -- what the client says ------------------------------------------------------------------------------------

    def receive(self, text: str) -> list[Command]:
        """Take one text frame; what is wrong with it is answered by an error frame, never raised."""
        return self.take(read_frame(text), text)

    def take(self, read: ReadFrame, text: str) -> list[Command]:
        """Do what a frame asks for. `text` is what it was read from: it is kept where the frame must wait."""
        try:
            match read.content:
                case WireError():
                    raise read.content
                case Start() as start:
                    return self._enqueue(read.lane, start, text)
                case SteerEvent() as steer:
                    return [Send(self._steer_failed(steer, read.lane))]
                case question:
                    return self._ask(question)
        except WireError as error:
            self._refused(read)
            return [Send(frame(error, read.lane))]

    def receive_binary(self) -> list[Command]:
        """Binary frames are not part of the protocol."""
        return [Send(frame(invalid("Binary frames are not supported; send JSON text frames.")))]

    def resume(self, response_id: str, after: str | None, lane: str | None) -> list[Command]:
        """A resume from the query string, where nothing can also be said by an empty value."""
        known: str | None = None
        try:
            known = _lane({"stream_id": lane or None})
            return self._ask(Find(check_id("response", response_id), position(after), known))
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
        running = self.lanes[lane].running
        if running is not None and running.previous is not None:
            self._evict(lane, running.previous)
        return [Send(frame(error, lane)), *self._next(lane)]

    def ended(self, lane: str | None, latest: Remembered | None) -> list[Command]:
        """The lane's turn was shown to its end."""
        self._remember(lane, latest)
        return self._next(lane)

    def expire(self) -> list[Command]:
        """The connection is too old."""
        return [Send(frame(AGE_LIMIT)), Close(1000, "connection age limit")]

    def close(self) -> None:
        """The socket is gone, and all that was kept for it. May be called twice."""
        self.lanes.clear()
        self._waiting_share.close()
        self._remembered_share.close()

    # -- inside --------------------------------------------------------------------------------------------------

    def _ask(self, question: Find | Cancel) -> list[Command]:
        if self.unanswered >= WAITING:
            raise _too_many()
        self.unanswered += 1
        return [question]

    def _enqueue(self, lane: str | None, job: Start | Follow, text: str = "") -> list[Command]:
        if self.waiting >= WAITING:
            raise _too_many()
        at = self.lanes.get(lane)
        if (at is None or (at.running is None and not at.waiting)) and self.in_flight < IN_FLIGHT:
            self._admit_lane(lane)
            return [self._run(self.lanes[lane], job)]
        self._wait(lane, job, text.encode())
        return []

    def _wait(self, lane: str | None, job: Start | Follow, text: bytes) -> None:
        self._check_lane(lane)
        if text and not self._waiting_share.take(len(text)):
            raise too_many_bytes()
        self._admit_lane(lane)
        waiting = WaitingFrame(text, job.request.previous_response_id) if isinstance(job, Start) else job
        self.lanes[lane].waiting.append(waiting)
        self.waiting += 1

    def _check_lane(self, lane: str | None) -> None:
        if lane not in self.lanes and len(self.lanes) > NAMED_LANES:
            message = f"A connection has at most {NAMED_LANES} named streams."
            raise WireError(400, "websocket_stream_limit_reached", message, param="stream_id")

    def _admit_lane(self, lane: str | None) -> None:
        self._check_lane(lane)
        if lane not in self.lanes:
            self.lanes[lane] = Lane()

    def _pump(self) -> list[Command]:
        commands: list[Command] = []
        for lane, at in self.lanes.items():
            if self.in_flight >= IN_FLIGHT:
                break
            if at.running is None and at.waiting:
                self.waiting -= 1
                commands.append(self._resume(lane, at, at.waiting.pop(0)))
        return commands

    def _resume(self, lane: str | None, at: Lane, job: WaitingFrame | Follow) -> Command:
        """Run what waited. A long frame is read again outside, for that takes its time."""
        if isinstance(job, Follow):
            return self._run(at, job)
        self._waiting_share.give_back(len(job.text))
        if len(job.text) <= REREAD_BYTES:
            read = read_frame(job.text.decode()).content
            assert isinstance(read, Start)  # it was when it came
            return self._run(at, read)
        at.running = Running(job.previous)
        self.in_flight += 1
        return Reread(lane, job.text, self._remembered(job.previous))

    def _run(self, at: Lane, job: Start | Follow) -> Command:
        """Run a job now, with what this connection alone remembers of the turn before it."""
        self.in_flight += 1
        if isinstance(job, Follow):
            at.running = Running(None)
            return job
        previous = job.request.previous_response_id
        at.running = Running(previous)
        known = self._remembered(previous)
        return job if known is None else msgspec.structs.replace(job, remembered=known)

    def _remembered(self, id: str | None) -> Remembered | None:
        latest = (lane.latest for lane in self.lanes.values())
        return next((known for known in latest if known is not None and known.id == id), None)

    def _refused(self, read: ReadFrame) -> None:
        """A frame that was never queued; behind others, it would have continued from what they leave."""
        at = self.lanes.get(read.lane)
        if read.is_create and at is not None and at.running is None and not at.waiting:
            self._evict(read.lane, read.previous)

    def _remember(self, lane: str | None, latest: Remembered | None) -> None:
        """Replace what the lane remembers. Where it does not fit, the oldest of this connection is forgotten first."""
        self._forget(lane)
        if latest is None:
            return
        oldest_first = [name for name, at in self.lanes.items() if at.latest is not None]
        while not self._remembered_share.take(len(latest.packed)):
            if not oldest_first:
                return
            self._forget(oldest_first.pop(0))
        self.lanes[lane].latest = latest

    def _forget(self, lane: str | None) -> None:
        at = self.lanes[lane]
        if at.latest is not None:
            self._remembered_share.give_back(len(at.latest.packed))
            at.latest = None

    def _evict(self, lane: str | None, id: str | None) -> None:
        """A continuation failed: what it named is not to be continued from this lane's memory again."""
        at = self.lanes[lane]
        if at.latest is not None and at.latest.id == id:
            self._forget(lane)

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
    return rate_limited(f"More than {WAITING} messages wait on this connection.")


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
