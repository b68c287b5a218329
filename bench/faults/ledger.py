"""What a client saw of one turn, and whether that was right. No I/O, no clock.

The rules: numbers begin at 0 and rise by one, exactly one terminal event comes last, the deltas are the text of the
terminal event, that is what the server stores, and it is what an undisturbed node says to the same question.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
DELTAS = frozenset(
    {"response.output_text.delta", "response.reasoning_text.delta", "response.function_call_arguments.delta"}
)
HOLE = 1000  # numbers that are left out where Redis may have lost entries


class Event(msgspec.Struct, frozen=True):
    """One event of a turn as it arrived; seconds are perf_counter's."""

    number: int
    type: str
    delta: str
    arrived: float


class Reference(msgspec.Struct, frozen=True):
    """What an undisturbed node answered."""

    text: str
    tokens: int


class Ledger:
    """Everything that one client saw of one turn."""

    def __init__(self, name: str, asked: float) -> None:
        self.name = name  # of the question
        self.asked = asked  # when the client began to try
        self.id = ""  # of the response, once `response.created` came
        self.events: list[Event] = []  # in the order of arrival, from all sockets
        self.final: Mapping[str, Any] | None = None  # the response of the first terminal event
        self.stored: Mapping[str, Any] | None = None  # what GET answered afterwards
        self.cuts: list[float] = []  # when a socket was lost on which the turn ran
        self.refused: list[str] = []  # codes of errors after which the client tried again
        self.end = ""  # the code of an error that allows no further try
        self.stopped = False  # the client asked for the end

    @property
    def number(self) -> int:
        """Of the last event, -1 before the first."""
        return self.events[-1].number if self.events else -1

    @property
    def over(self) -> bool:
        """Whether the turn has ended, or failed for good."""
        return self.final is not None or bool(self.end)

    def add(self, event: Mapping[str, Any], arrived: float) -> None:
        """An event of the turn, whatever its number."""
        self.events.append(Event(event["sequence_number"], event["type"], event.get("delta", ""), arrived))
        if event["type"] == "response.created":
            self.id = event["response"]["id"]
        if event["type"] in TERMINAL and self.final is None:
            self.final = event["response"]


class Verdict(msgspec.Struct, frozen=True):
    """Everything that is wrong with a turn, as sentences by kind. All empty: nothing is."""

    lost: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    holes: int = 0

    @property
    def why(self) -> tuple[str, ...]:
        """All complaints, whatever their kind."""
        return (*self.lost, *self.repeated, *self.changed, *self.failed)


def judge(ledger: Ledger, reference: Reference | None, *, durable: bool = True) -> Verdict:
    """Compare: without a reference with what was stored only, which may be gone where Redis is not `durable`."""
    numbers = [event.number for event in ledger.events]
    lost, repeated, holes = _sequence(numbers)
    endings = [event for event in ledger.events if event.type in TERMINAL]
    if ledger.final is None:
        lost.append(f"no end after number {ledger.number}{ledger.end and ': ' + ledger.end}")
    if len(endings) > 1:
        repeated.append(f"{len(endings)} terminal events")
    elif endings and endings[0] is not ledger.events[-1]:
        repeated.append("events after the terminal one")
    failed = [_failure(ledger.final)] if ledger.final is not None and ledger.final["status"] == "failed" else []
    changed = [] if ledger.final is None or failed else list(_changes(ledger, ledger.final, reference, durable))
    return Verdict(tuple(lost), tuple(repeated), tuple(changed), tuple(failed), holes)


def _sequence(numbers: Iterable[int]) -> tuple[list[str], list[str], int]:
    """What is missing, what came twice, and how many holes there are."""
    lost, repeated, holes, last = [], [], 0, -1
    for number in numbers:
        if number <= last:
            repeated.append(f"number {number} after {last}")
        elif number == last + 1 + HOLE:
            holes += 1
        elif number != last + 1:
            lost.append(f"number {number} after {last}")
        last = max(last, number)
    return lost, repeated, holes


def _failure(final: Mapping[str, Any]) -> str:
    error = final.get("error") or {}
    return f"failed: {error.get('code')}: {error.get('message')}"


def _changes(ledger: Ledger, final: Mapping[str, Any], reference: Reference | None, durable: bool) -> Iterable[str]:
    shown = "".join(event.delta for event in ledger.events if event.type in DELTAS)
    if shown != said(final):
        yield _difference("the terminal event", shown, said(final))
    if ledger.stored is None:
        yield from () if not durable else ("nothing is stored",)
    elif (ledger.stored["status"], said(ledger.stored)) != (final["status"], said(final)):
        yield _difference(f"the stored response ({ledger.stored['status']})", shown, said(ledger.stored))
    if final["status"] not in _endings(ledger, reference):
        yield f"its status is {final['status']}"
    if reference is not None:
        yield from _deviations(shown, final, reference)


def _endings(ledger: Ledger, reference: Reference | None) -> set[str]:
    """Statuses that are right. A real model may talk up to its limit."""
    return (
        {"completed"} | ({"cancelled"} if ledger.stopped else set()) | ({"incomplete"} if reference is None else set())
    )


def _deviations(shown: str, final: Mapping[str, Any], reference: Reference) -> Iterable[str]:
    """From an undisturbed answer, of which a stopped one is the beginning."""
    if final["status"] == "cancelled":
        if not reference.text.startswith(shown):
            yield _difference("the beginning of the reference", shown, reference.text)
    elif shown != reference.text:
        yield _difference("the reference", shown, reference.text)
    elif final["usage"]["output_tokens"] != reference.tokens:
        yield f"{final['usage']['output_tokens']} tokens are counted instead of {reference.tokens}"


def said(response: Mapping[str, Any]) -> str:
    """All text of a response: reasoning, messages and the arguments of calls, in order."""
    return "".join(map(_item_text, response["output"]))


def _item_text(item: Mapping[str, Any]) -> str:
    parts = "".join(part.get("text", "") for part in item.get("content") or ())
    return parts + str(item.get("arguments", ""))


def _difference(what: str, shown: str, other: str) -> str:
    at = next(
        (index for index, (a, b) in enumerate(zip(shown, other, strict=False)) if a != b), min(map(len, (shown, other)))
    )
    return (
        f"{what} has {other[at : at + 20]!r} where {shown[at : at + 20]!r} was shown (character {at} of {len(shown)})"
    )


def silence(events: Iterable[Event], begin: float, until: float) -> float | None:
    """The longest time without an event, from `begin` on, that started before `until`; None if nothing came after."""
    longest, last = None, begin
    for event in events:
        if event.arrived > begin:
            if last > until:
                break
            longest = max(longest or 0.0, event.arrived - last)
            last = event.arrived
    return longest
