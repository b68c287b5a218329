"""What events mean, as servers send them."""

import msgspec
import pytest

from bench.load.events import EventKind, ParsedEvent, chat_chunk, response_event

RESPONSE_EVENTS = [
    ('{"type":"response.created","response":{"id":"r1","usage":null}}', ParsedEvent(EventKind.START, id="r1")),
    ('{"type":"response.in_progress","response":{"id":"r1"}}', ParsedEvent(EventKind.OTHER)),
    ('{"type":"response.output_text.delta","delta":"Hi","stream_id":"l1"}', ParsedEvent(EventKind.TEXT, "l1", "Hi")),
    ('{"delta":"Hm","type":"response.reasoning_text.delta"}', ParsedEvent(EventKind.TEXT, text="Hm")),
    ('{"type":"response.output_text.done","text":"Hi"}', ParsedEvent(EventKind.OTHER)),
    ('{"type":"throughline:waiting","stream_id":"l1"}', ParsedEvent(EventKind.OTHER, "l1")),
    (
        '{"type":"response.incomplete","response":{"id":"r1","status":"incomplete",'
        '"usage":{"input_tokens":3,"output_tokens":9,"total_tokens":12}}}',
        ParsedEvent(EventKind.END, id="r1", input_tokens=3, output_tokens=9),
    ),
    (
        '{"type":"response.incomplete","response":{"id":"r1","status":"cancelled"}}',
        ParsedEvent(EventKind.ERROR, reason="cancelled"),
    ),
    (
        '{"type":"response.failed","response":{"id":"r1","error":{"code":"server_error","message":"x"}}}',
        ParsedEvent(EventKind.ERROR, reason="failed server_error"),
    ),
    (
        '{"type":"error","status":429,"stream_id":"l1","error":{"type":"t","code":"rate_limit_exceeded"}}',
        ParsedEvent(EventKind.ERROR, "l1", reason="error rate_limit_exceeded"),
    ),
    (
        '{"type":"error","code":"server_overloaded","message":"x"}',
        ParsedEvent(EventKind.ERROR, reason="error server_overloaded"),
    ),
    (
        '{"error":{"message":"x","type":"InternalServerError","code":500}}',
        ParsedEvent(EventKind.ERROR, reason="error 500"),
    ),
]
CHAT_CHUNKS = [
    (
        '{"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
        ParsedEvent(EventKind.OTHER, id="c1"),
    ),
    (
        '{"id":"c1","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}',
        ParsedEvent(EventKind.TEXT, text="Hi"),
    ),
    ('{"id":"c1","choices":[{"delta":{"reasoning_content":"Hm"}}]}', ParsedEvent(EventKind.TEXT, text="Hm")),
    ('{"id":"c1","choices":[{"delta":{},"finish_reason":"length"}]}', ParsedEvent(EventKind.OTHER, id="c1")),
    (
        '{"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}',
        ParsedEvent(EventKind.END, id="c1", input_tokens=3, output_tokens=9),
    ),
    (
        '{"error":{"message":"x","type":"overloaded","code":null}}',
        ParsedEvent(EventKind.ERROR, reason="error overloaded"),
    ),
]


@pytest.mark.parametrize(("raw", "seen"), RESPONSE_EVENTS)
def test_events_of_the_responses_protocol(raw: str, seen: ParsedEvent) -> None:
    assert response_event(raw) == response_event(raw.encode()) == seen


@pytest.mark.parametrize(("raw", "seen"), CHAT_CHUNKS)
def test_chunks_of_the_chat_api(raw: str, seen: ParsedEvent) -> None:
    assert chat_chunk(raw) == seen


@pytest.mark.parametrize("read", [response_event, chat_chunk])
def test_an_event_that_is_not_json_raises(read: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        read("{")  # type: ignore[operator]
