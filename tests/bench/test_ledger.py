"""The ledger's judgement: nothing that is wrong with an answer may pass, and nothing that is right may fail."""

from typing import Any

import pytest

from bench.faults.ledger import Event, Ledger, Reference, Verdict, judge, said, silence

WORDS = (" one", " two", " thrée")
REFERENCE = Reference("".join(WORDS), 3)


def response(text: str, status: str = "completed", tokens: int = 3) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    output = [{"type": "message", "content": content}]
    return {"id": "resp_1", "status": status, "output": output, "usage": {"output_tokens": tokens}, "error": None}


def frames(words: tuple[str, ...] = WORDS, final: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """A whole turn as it goes over the wire."""
    final = response("".join(words)) if final is None else final
    kinds: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.in_progress", "response": {"id": "resp_1"}},
        *({"type": "response.output_text.delta", "delta": word} for word in words),
        {"type": "response.output_text.done", "text": "".join(words)},
        {"type": "response.completed", "response": final},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(kinds)]


def judged(
    events: list[dict[str, Any]], stored: dict[str, Any] | None = None, *, stopped: bool = False
) -> tuple[Verdict, Ledger]:
    ledger = Ledger("hello", 0.0)
    ledger.stopped = stopped
    for at, event in enumerate(events):
        ledger.add(event, float(at))
    ledger.stored = ledger.final if stored is None else stored
    return judge(ledger, REFERENCE), ledger


def kinds(verdict: Verdict) -> set[str]:
    return {kind for kind in ("lost", "repeated", "changed", "failed") if getattr(verdict, kind)}


def test_a_complete_answer_is_judged_correct() -> None:
    verdict, ledger = judged(frames())
    assert verdict == Verdict()
    assert (ledger.id, ledger.number, ledger.over) == ("resp_1", 6, True)


@pytest.mark.parametrize("at", range(7))
def test_every_missing_event_is_seen(at: int) -> None:
    events = frames()
    del events[at]
    assert "lost" in kinds(judged(events)[0])


@pytest.mark.parametrize("at", range(7))
def test_every_repeated_event_is_seen(at: int) -> None:
    events = frames()
    events.insert(at, events[at])
    assert "repeated" in kinds(judged(events)[0])


@pytest.mark.parametrize("at", range(6))
def test_every_swap_is_seen(at: int) -> None:
    events = frames()
    events[at], events[at + 1] = events[at + 1], events[at]
    assert kinds(judged(events)[0]) & {"lost", "repeated"}


@pytest.mark.parametrize("letter", ["o", "n", "é"])
def test_a_changed_letter_is_seen(letter: str) -> None:
    events = frames(tuple(word.replace(letter, "x", 1) for word in WORDS), response(REFERENCE.text))
    assert kinds(judged(events)[0]) == {"changed"}


def test_an_answer_that_is_consistent_and_other_than_the_reference_is_seen() -> None:
    verdict, _ = judged(frames((" one", " two", " other")))
    assert verdict.changed == ("the reference has 'thrée' where 'other' was shown (character 9 of 14)",)


def test_a_stored_response_with_another_text_is_seen() -> None:
    assert kinds(judged(frames(), response(" one two"))[0]) == {"changed"}


def test_a_stored_response_with_another_status_is_seen() -> None:
    assert kinds(judged(frames(), response(REFERENCE.text, "in_progress"))[0]) == {"changed"}


def test_a_response_that_is_not_stored_is_seen() -> None:
    _, ledger = judged(frames())
    ledger.stored = None
    assert judge(ledger, REFERENCE).changed == ("nothing is stored",)
    assert judge(ledger, REFERENCE, durable=False) == Verdict()


def test_tokens_that_were_counted_twice_are_seen() -> None:
    assert kinds(judged(frames(final=response(REFERENCE.text, tokens=5)))[0]) == {"changed"}


def test_a_second_terminal_event_is_seen() -> None:
    events = frames()
    events.append(events[-1] | {"sequence_number": 7})
    assert judged(events)[0].repeated == ("2 terminal events",)


def test_an_event_after_the_terminal_one_is_seen() -> None:
    events = frames()
    events.append(events[-2] | {"sequence_number": 7})
    assert kinds(judged(events)[0]) == {"repeated"}


def test_a_failed_turn_is_counted_as_that_alone() -> None:
    events = frames()[:3]
    final = response(" one", "failed") | {"error": {"code": "server_error", "message": "broken"}}
    events.append({"type": "response.failed", "response": final, "sequence_number": 3})
    assert judged(events)[0] == Verdict(failed=("failed: server_error: broken",))


def test_an_end_that_nobody_asked_for_is_seen() -> None:
    assert kinds(judged(frames(final=response(REFERENCE.text, "incomplete")))[0]) == {"changed"}


def test_a_real_model_may_talk_up_to_its_limit() -> None:
    _, ledger = judged(frames(final=response(REFERENCE.text, "incomplete")))
    assert judge(ledger, None) == Verdict()


def test_a_stopped_turn_may_end_early() -> None:
    events = frames(WORDS[:2], response(" one two", "cancelled", 2))
    assert judged(events, stopped=True)[0] == Verdict()
    assert kinds(judged(events)[0]) == {"changed"}


def test_a_stopped_turn_may_be_faster_than_the_stop() -> None:
    assert judged(frames(), stopped=True)[0] == Verdict()


def test_a_stopped_turn_must_be_the_beginning() -> None:
    events = frames((" one", " twelve"), response(" one twelve", "cancelled", 2))
    assert kinds(judged(events, stopped=True)[0]) == {"changed"}


def test_a_hole_is_told_apart_from_a_loss() -> None:
    events = [event | {"sequence_number": n if n < 3 else n + 1000} for n, event in enumerate(frames())]
    assert judged(events)[0] == Verdict(holes=1)
    wide = [event | {"sequence_number": n if n < 3 else n + 1001} for n, event in enumerate(frames())]
    assert kinds(judged(wide)[0]) == {"lost"}


def test_the_code_that_ended_a_turn_is_told() -> None:
    ledger = Ledger("hello", 0.0)
    ledger.add(frames()[0], 1.0)
    ledger.end = "stream_position_lost"
    assert ledger.over
    assert judge(ledger, REFERENCE).lost == ("no end after number 0: stream_position_lost",)


def test_reasoning_and_calls_are_text_too() -> None:
    output = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm "}]},
        {"type": "message", "content": [{"type": "output_text", "text": "yes"}]},
        {"type": "function_call", "arguments": "{}"},
    ]
    assert said({"output": output}) == "hm yes{}"


def at(*times: float) -> list[Event]:
    return [Event(number, "response.output_text.delta", "", time) for number, time in enumerate(times)]


@pytest.mark.parametrize(
    ("times", "longest"),
    [
        ((1.0, 2.0), None),  # nothing came after the fault
        ((1.0, 2.0, 5.0), 2.5),  # counted from the fault, not from the last event
        ((2.0, 3.0, 6.0, 6.1), 3.0),  # a second silence, from an event on
        ((2.0, 3.0, 4.0, 20.0), 1.0),  # one that began when all was whole again does not count
    ],
)
def test_silence_is_measured_from_the_fault_on(times: tuple[float, ...], longest: float | None) -> None:
    assert silence(at(*times), 2.5, 3.5) == (None if longest is None else pytest.approx(longest))
