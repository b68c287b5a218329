"""What engines say, as literals and at random, and how a runner writes it down."""

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from engine.base import Channel, Chunk, Delta, Logprob, TokenLogprob, ToolCall
from server.protocol.entry import Event, Kind
from server.protocol.output import ResponseBuilder
from server.protocol.request import Request
from server.protocol.response import Usage, created, ended
from server.protocol.status import Status

RESPONSE = created(Request(model="demo", input="Hi"), "resp_abc", 1_700_000_000, "demo")
HI = Logprob("Hi", -0.5, (TokenLogprob("Hi", -0.5), TokenLogprob("Ho", -1.5)))


def text(words: str, *ids: int, logprobs: tuple[Logprob, ...] = ()) -> Chunk:
    return Chunk(ids, (Delta(Channel.TEXT, words, logprobs=logprobs),))


def thought(words: str, *ids: int) -> Chunk:
    return Chunk(ids, (Delta(Channel.REASONING, words),))


def call(index: int, name: str, arguments: str = "", *ids: int) -> Chunk:
    return Chunk(ids, (Delta(Channel.TOOL, arguments, ToolCall(index, f"call_{index}", name)),))


def arguments(words: str, *ids: int) -> Chunk:
    return Chunk(ids, (Delta(Channel.TOOL, words),))


# A turn with everything in it: reasoning, text with logprobs, ids held back, two calls, text again.
EVERYTHING = (
    thought("Let me", 1),
    thought(" see.", 2),
    text("Hi", 3, logprobs=(HI,)),
    Chunk((4,)),
    text(" 😀", 5, 6),
    call(0, "look", "", 7),
    arguments('{"at":', 8),
    arguments("1}", 9),
    call(1, "hear", "{}", 10),
    text('"Done" \n', 11),
    Chunk((12,)),
)


def begun() -> tuple[ResponseBuilder, list[Event]]:
    """An answer whose turn has just got its lease, with the log so far."""
    answer = ResponseBuilder("abc")
    log = [Event(Kind.CREATED), Event(Kind.QUEUED)]
    answer.replay(log)
    return answer, log + answer.begin()


def finish(answer: ResponseBuilder, status: Status = Status.COMPLETED) -> list[Event]:
    """The last events, as the runner writes them."""
    closing = answer.close(status)
    usage = Usage(input=3, output=len(answer.token_ids) + len(answer.held))
    reason = "max_output_tokens" if status is Status.INCOMPLETE else None
    error = ("server_error", "Something broke.") if status is Status.FAILED else None
    final = ended(RESPONSE, status, answer.items, usage, 1_700_000_009, reason=reason, error=error)
    return [*closing, *answer.end(status, final)]


def written(chunks: Iterable[Chunk], status: Status = Status.COMPLETED) -> list[list[Event]]:
    """A whole turn's log, as the lists of events that were appended together."""
    answer, log = begun()
    appended = [log[:2], log[2:], *(answer.take(chunk) for chunk in chunks)]
    return [events for events in [*appended, finish(answer, status)] if events]


def flat(appended: Iterable[Iterable[Event]]) -> list[Event]:
    """One list of events."""
    return [event for events in appended for event in events]


def state(answer: ResponseBuilder) -> dict[str, Any]:
    """Everything that replaying must bring back: all but the ids that no event has carried yet."""
    return {name: value for name, value in vars(answer).items() if name != "held"} | {"said": answer.said()}


_WORDS = st.text(max_size=4)
_LOGPROBS = st.just(()) | st.just((HI,))
_TEXT = st.builds(Delta, st.just(Channel.TEXT), _WORDS, st.none(), _LOGPROBS)
_THOUGHT = st.builds(Delta, st.just(Channel.REASONING), _WORDS)
_CALL = st.builds(Delta, st.just(Channel.TOOL), _WORDS, st.just(ToolCall(0, "call_0", "look")))
_ARGUMENTS = st.builds(Delta, st.just(Channel.TOOL), _WORDS)
_IDS = st.lists(st.integers(0, 200_000), max_size=3).map(tuple)
CHUNKS = st.lists(
    st.builds(Chunk, _IDS, st.lists(st.one_of(_TEXT, _THOUGHT, _CALL, _ARGUMENTS), max_size=3).map(tuple)), max_size=8
)
