"""Every format that is stored, byte for byte as the previous release writes it.

`previous.json` holds what that release's code wrote for the values below, each byte as one character. Both releases
share a Redis during a deploy, so this one must read those bytes as these values, and write the same bytes for them. A
new field comes with a new case; a case that is here never changes while the release that wrote it may still run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from engine.base import Channel, Chunk, Delta, Finish, Format, Logprob, Params, Prompt, TokenLogprob, ToolCall
from server.node.heartbeat import NodeInfo
from server.protocol.entry import VERSION, Entry, Event, Kind, Open, decode, encode
from server.protocol.output import ResponseBuilder
from server.protocol.status import Status
from server.store.redis.keys import Keys
from server.store.redis.packed_items import pack_items
from server.store.types import Checkpoint, Item
from server.turns.spec import PromptRef, TurnSpec, digest_of, ids_of, pack, unpack

FILE = Path(__file__).with_name("previous.json")
SUFFIX = "0190a1b2c3d4e5f6a7b8c9d0"  # of a response's id
OPEN = Open(f"msg_{SUFFIX}01", 1, "message")
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
LOGPROB = {
    "token": "é",
    "bytes": [195, 169],
    "logprob": -0.25,
    "top_logprobs": [{"token": "é", "bytes": [195, 169], "logprob": -0.25}],
}
ITEM = {"id": OPEN.item_id, "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
RESPONSE = {"id": f"resp_{SUFFIX}", "status": "completed", "output": [ITEM], "usage": None, "metadata": {"topic": "ä"}}
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": None}

EVENTS = {
    Kind.CREATED: Event(Kind.CREATED),
    Kind.QUEUED: Event(Kind.QUEUED),
    Kind.IN_PROGRESS: Event(Kind.IN_PROGRESS),
    Kind.ITEM_ADDED: Event(Kind.ITEM_ADDED, data=ITEM),
    Kind.PART_ADDED: Event(Kind.PART_ADDED, data=PART),
    Kind.TEXT: Event(Kind.TEXT, "Höflich 🙂", (0, 127, 128, 65_536, 2**32 - 1), [LOGPROB]),
    Kind.REASONING: Event(Kind.REASONING, "Also", (7,)),
    Kind.ARGUMENTS: Event(Kind.ARGUMENTS, '{"a":', (8, 9)),
    Kind.TEXT_DONE: Event(Kind.TEXT_DONE),
    Kind.REASONING_DONE: Event(Kind.REASONING_DONE),
    Kind.ARGUMENTS_DONE: Event(Kind.ARGUMENTS_DONE),
    Kind.PART_DONE: Event(Kind.PART_DONE),
    Kind.ITEM_DONE: Event(Kind.ITEM_DONE, data={**ITEM, "content": [{**PART, "text": "Hi"}], "status": "completed"}),
    Kind.COMPLETED: Event(Kind.COMPLETED, ids=(3,), data=RESPONSE),
    Kind.INCOMPLETE: Event(Kind.INCOMPLETE, data={**RESPONSE, "status": "cancelled"}),
    Kind.FAILED: Event(Kind.FAILED, data={**RESPONSE, "status": "failed", "error": {"code": "server_error"}}),
}
CHUNKS = [
    Chunk((1, 2), (Delta(Channel.REASONING, "Hm."),), cached_tokens=16),
    Chunk((300,)),
    Chunk((4,), (Delta(Channel.TEXT, "Ja", logprobs=(Logprob("Ja", -0.5, (TokenLogprob("Ja", -0.5),)),)),)),
    Chunk((5,), (Delta(Channel.TOOL, "{", ToolCall(0, "call_1", "look_up")), Delta(Channel.TOOL, "}"))),
    Chunk((6,), (), Finish.STOP, reasoning_tokens=2),
]
PARAMS = {
    "least": Params(),
    "admitted": Params(max_tokens=131_000),
    "every": Params(
        max_tokens=9,
        temperature=0.5,
        top_p=0.25,
        top_k=5,
        min_p=0.125,
        seed=2**40,
        presence_penalty=-1.5,
        frequency_penalty=1.5,
        repetition_penalty=1.0,
        stop=("\n", "ä"),
        ignore_eos=True,
        logprobs=True,
        top_logprobs=3,
        format=Format("json_schema", {"type": "object", "properties": {"n": {"type": "integer"}}}),
        tools=(TOOL,),
        tool_choice={"type": "function", "name": "look_up"},
        parallel_tool_calls=False,
        reasoning_effort="low",
    ),
    "named choice": Params(tool_choice="required", tools=(TOOL,), format=Format("json_object")),
}
PROMPT_REFS = {
    "first turn": PromptRef(None, 0, 3, digest_of(ids_of(Prompt((1, 2, 3))))),
    "chain": PromptRef(Checkpoint(f"resp_{SUFFIX}", 41), 0, 70_000, bytes(range(16))),
    "truncated conversation": PromptRef(Checkpoint("conv_0123", 0), 2, 3, bytes(range(240, 256))),
}
SPECS = {
    "prompt kept": TurnSpec(RESPONSE, Prompt((0, 151_645, 2**32 - 1), "ann"), PARAMS["every"], "v1@abc"),
    "prompt rendered again": TurnSpec(
        RESPONSE, None, PARAMS["admitted"], "scripted-1", prompt_ref=PROMPT_REFS["chain"], requested_at=1.7e9 + 0.123456
    ),
    "every field": TurnSpec(
        response=RESPONSE,
        prompt=None,
        params=PARAMS["every"],
        model_version="v1@abc",
        lane="side",
        generates=False,
        input=({"type": "message", "role": "user", "content": "Hi 🙂"}, ITEM),
        requested_at=1_700_000_000.123456,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        prompt_ref=PROMPT_REFS["first turn"],
    ),
}
INFOS = {
    "loading": NodeInfo("loading"),
    "ready": NodeInfo("ready", "v1@abc", 64),
    "draining": NodeInfo("draining", "Qwen/Qwen3-8B@ä", 0),
}
ITEMS = [Item("msg_1", b'{"id":"msg_1","text":"\xc3\xa4"}'), Item("fc_2", b"x" * 300)]


class StoredFormat(NamedTuple):
    """Values of one format, and how they are written and read."""

    values: dict[str, Any]
    write: Callable[[Any], bytes | dict[str, bytes]]
    read: Callable[[Any], Any]


ENTRIES = {
    **{kind.name: Entry(VERSION, None if kind < Kind.ITEM_ADDED else OPEN, (event,)) for kind, event in EVENTS.items()},
    "two events": Entry(VERSION, None, (EVENTS[Kind.CREATED], EVENTS[Kind.IN_PROGRESS])),
}
FORMATS = {
    "log entry": StoredFormat(ENTRIES, lambda entry: encode(entry.open, entry.events), decode),
    "parameters": StoredFormat(PARAMS, msgspec.msgpack.encode, msgspec.msgpack.Decoder(Params).decode),
    "prompt reference": StoredFormat(PROMPT_REFS, msgspec.msgpack.encode, msgspec.msgpack.Decoder(PromptRef).decode),
    "turn": StoredFormat(SPECS, pack, unpack),
    "node": StoredFormat(INFOS, msgspec.json.encode, msgspec.json.Decoder(NodeInfo).decode),
}
EVERY = [(format, name) for format, stored in FORMATS.items() for name in stored.values]
every = pytest.mark.parametrize(("format", "name"), EVERY)


def previous() -> dict[str, Any]:
    """What the previous release wrote, by format and name."""
    found: dict[str, Any] = _bytes(json.loads(FILE.read_text()))
    return found


def _bytes(value: Any) -> Any:
    """Strings as the bytes that they stand for, at any depth."""
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, list):
        return [_bytes(each) for each in value]
    return {name: _bytes(each) for name, each in value.items()}


@every
def test_what_the_previous_release_wrote_is_read(format: str, name: str) -> None:
    assert FORMATS[format].read(previous()[format][name]) == FORMATS[format].values[name]


@every
def test_the_same_bytes_are_written(format: str, name: str) -> None:
    assert FORMATS[format].write(FORMATS[format].values[name]) == previous()[format][name]


@pytest.mark.parametrize("format", FORMATS)
def test_no_case_of_the_previous_release_is_left_out(format: str) -> None:
    assert previous()[format].keys() == FORMATS[format].values.keys()


def test_every_kind_of_event_has_a_case() -> None:
    assert EVENTS.keys() == set(Kind)


def test_a_whole_turn_is_written_alike() -> None:
    """The events of a turn with reasoning, text, a call and ids that are held back, an entry for each chunk."""
    assert whole_turn() == previous()["whole turn"]


def test_a_whole_turn_is_folded_to_its_output() -> None:
    folded = ResponseBuilder(SUFFIX)
    for entry in previous()["whole turn"]:
        folded.replay(decode(entry).events)
    assert [item["type"] for item in folded.items] == ["reasoning", "message", "function_call"]
    assert (folded.token_ids, folded.status) == ([1, 2, 300, 4, 5, 6], Status.COMPLETED)
    assert folded.said().arguments == "{}"


def whole_turn() -> list[bytes]:
    """Its entries."""
    builder, entries = ResponseBuilder(SUFFIX), [encode(None, [Event(Kind.CREATED), Event(Kind.QUEUED)])]
    steps = [builder.begin, *(lambda chunk=chunk: builder.take(chunk) for chunk in CHUNKS)]
    steps += [lambda: builder.close(Status.COMPLETED), lambda: builder.end(Status.COMPLETED, RESPONSE)]
    for step in steps:
        open = builder.open
        if events := step():
            entries.append(encode(open, events))
    return entries


def test_items_are_packed_alike() -> None:
    assert pack_items(ITEMS) == previous()["packed items"]


@pytest.mark.parametrize("partitions", [1, 16])
def test_keys_have_the_same_names(partitions: int) -> None:
    assert {name: key.encode() for name, key in key_names(partitions).items()} == previous()[f"keys of {partitions}"]


def key_names(partitions: int) -> dict[str, str]:
    """Every kind of key, by what it is for."""
    keys, caller, partition = Keys(partitions), "ann", Keys(partitions).partition("ann")
    return {
        "turn": keys.turn(caller, "resp_1"),
        "log": keys.log(caller, "resp_1"),
        "response": keys.response(caller, "resp_1"),
        "tombstone": keys.tombstone(caller, "resp_1"),
        "idempotency": keys.idempotency(caller, "once"),
        "no idempotency": keys.idempotency(caller, ""),
        "segment": keys.segment(caller, "resp_1"),
        "conversation": keys.conversation(caller, "conv_1"),
        "items": keys.items(caller, "conv_1"),
        "positions": keys.positions(caller, "conv_1"),
        "conversations": keys.conversations(caller),
        "unfinished": keys.unfinished(partition),
        "turn prefix": keys.turn_prefix(partition),
        "log prefix": keys.log_prefix(partition),
        "segment prefix": keys.segment_prefix(partition),
        "items prefix": keys.items_prefix(partition),
        "member": keys.member(caller, "resp_1"),
        "nodes": keys.nodes(),
        "notifications": keys.notifications("0123456789abcdef"),
        "ticket": keys.ticket("secret"),
    }
