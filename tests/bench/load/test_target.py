"""How the kinds of servers are asked."""

from typing import Any

from bench.load.plan import Ask
from bench.load.target import TARGETS, Conversation, RequestDefaults

ASKING = RequestDefaults("m")
FIRST, SECOND = Ask("Hi", 7), Ask("And?", 9)
SAMPLING = {"model": "m", "temperature": 0.0, "ignore_eos": True}


def two(target: str) -> list[dict[str, Any]]:
    """The bodies of two turns."""
    conversation = Conversation(TARGETS[target])
    first = conversation.body(FIRST, ASKING)
    conversation.said(FIRST, "Hello", "r1")
    return [first, conversation.body(SECOND, ASKING)]


def test_our_websocket_chains_by_the_last_response() -> None:
    first, second = two("ws")
    body = {"type": "response.create", **SAMPLING, "max_output_tokens": 7, "input": [{"role": "user", "content": "Hi"}]}
    assert first == body
    assert (second["previous_response_id"], second["max_output_tokens"], len(second["input"])) == ("r1", 9, 1)


def test_our_sse_api_chains_by_the_last_response() -> None:
    first, second = two("sse")
    assert (first["stream"], "type" in first, "previous_response_id" in first) == (True, False, False)
    assert second["previous_response_id"] == "r1"


MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And?"},
]


def test_other_apis_are_sent_the_whole_conversation() -> None:
    first, second = two("responses")
    assert (first["store"], first["input"]) == (False, MESSAGES[:1])
    assert (second["input"], "previous_response_id" in second) == (MESSAGES, False)


def test_the_chat_api_reports_its_usage() -> None:
    first, second = two("chat")
    assert first == SAMPLING | {
        "messages": MESSAGES[:1],
        "max_completion_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert second["messages"] == MESSAGES


def test_without_force_the_model_may_stop_early() -> None:
    assert "ignore_eos" not in Conversation(TARGETS["ws"]).body(FIRST, RequestDefaults("m", force=False))
