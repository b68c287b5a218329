"""What events mean, as servers send them."""

import msgspec
import pytest

from bench.load.reading import Seen, Sight, chat_chunk, response_event

RESPONSE_EVENTS = [
    ('{"type":"response.created","response":{"id":"r1","usage":null}}', Seen(Sight.START, id="r1")),
    ('{"type":"response.in_progress","response":{"id":"r1"}}', Seen(Sight.OTHER)),
    ('{"type":"response.output_text.delta","delta":"Hi","stream_id":"l1"}', Seen(Sight.TEXT, "l1", "Hi")),
    ('{"delta":"Hm","type":"response.reasoning_text.delta"}', Seen(Sight.TEXT, text="Hm")),
    ('{"type":"response.output_text.done","text":"Hi"}', Seen(Sight.OTHER)),
    ('{"type":"throughline:waiting","stream_id":"l1"}', Seen(Sight.OTHER, "l1")),
    (
        '{"type":"response.incomplete","response":{"id":"r1","status":"incomplete",'
        '"usage":{"input_tokens":3,"output_tokens":9,"total_tokens":12}}}',
        Seen(Sight.END, id="r1", input_tokens=3, output_tokens=9),
    ),
    (
        '{"type":"response.incomplete","response":{"id":"r1","status":"cancelled"}}',
        Seen(Sight.ERROR, reason="cancelled"),
    ),
    (
        '{"type":"response.failed","response":{"id":"r1","error":{"code":"server_error","message":"x"}}}',
        Seen(Sight.ERROR, reason="failed server_error"),
    ),
    (
        '{"type":"error","status":429,"stream_id":"l1","error":{"type":"t","code":"rate_limit_exceeded"}}',
        Seen(Sight.ERROR, "l1", reason="error rate_limit_exceeded"),
    ),
    ('{"type":"error","code":"server_overloaded","message":"x"}', Seen(Sight.ERROR, reason="error server_overloaded")),
    ('{"error":{"message":"x","type":"InternalServerError","code":500}}', Seen(Sight.ERROR, reason="error 500")),
]
CHAT_CHUNKS = [
    ('{"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}', Seen(Sight.OTHER, id="c1")),
    ('{"id":"c1","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}', Seen(Sight.TEXT, text="Hi")),
    ('{"id":"c1","choices":[{"delta":{"reasoning_content":"Hm"}}]}', Seen(Sight.TEXT, text="Hm")),
    ('{"id":"c1","choices":[{"delta":{},"finish_reason":"length"}]}', Seen(Sight.OTHER, id="c1")),
    (
        '{"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}',
        Seen(Sight.END, id="c1", input_tokens=3, output_tokens=9),
    ),
    ('{"error":{"message":"x","type":"overloaded","code":null}}', Seen(Sight.ERROR, reason="error overloaded")),
]


@pytest.mark.parametrize(("raw", "seen"), RESPONSE_EVENTS)
def test_events_of_the_responses_protocol(raw: str, seen: Seen) -> None:
    assert response_event(raw) == response_event(raw.encode()) == seen


@pytest.mark.parametrize(("raw", "seen"), CHAT_CHUNKS)
def test_chunks_of_the_chat_api(raw: str, seen: Seen) -> None:
    assert chat_chunk(raw) == seen


@pytest.mark.parametrize("read", [response_event, chat_chunk])
def test_what_is_no_json_is_an_error(read: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        read("{")  # type: ignore[operator]
