"""A turn's record, as any node reads it."""

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.base import Format, Params, Prompt
from server.protocol.connection import Remembered
from server.store.types import Checkpoint
from server.turns.spec import PromptRef, TurnSpec, digest_of, ids_of, pack, unpack

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}
LEAST = TurnSpec(
    response={"id": "resp_abc", "model": "demo"},
    prompt=Prompt((1, 2, 3)),
    params=Params(max_tokens=9),
    model_version="v1",
)
FULL = TurnSpec(
    response={"id": "resp_abc", "instructions": "Sei höflich 😀"},
    prompt=Prompt((0, 151_645, 2**32 - 1), "ann"),
    params=Params(
        max_tokens=9,
        temperature=0.5,
        top_k=5,
        seed=2**40,
        stop=("\n", "ä"),
        logprobs=True,
        top_logprobs=3,
        format=Format("json_schema", {"type": "object"}),
        tools=(FUNCTION,),
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
        reasoning_effort="low",
    ),
    model_version="v1@abc",
    lane="side",
    generates=False,
    input=({"type": "message", "role": "user", "content": "Hi"},),
    requested_at=1_700_000_000.123456,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
RECIPE = PromptRef(Checkpoint("resp_a", 41), 2, 3, digest_of(ids_of(Prompt((1, 2, 3)))))
LEAN = msgspec.structs.replace(FULL, prompt=None, prompt_ref=RECIPE)


@pytest.mark.parametrize("record", [LEAST, FULL, LEAN])
def test_round_trip(record: TurnSpec) -> None:
    assert unpack(pack(record)) == record


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=50), st.floats(0, 2e9))
def test_ids_and_times_survive_exactly(ids: list[int], asked: float) -> None:
    record = msgspec.structs.replace(LEAST, prompt=Prompt(tuple(ids)), requested_at=asked)
    assert unpack(pack(record)) == record


def test_fields_are_bytes_under_names_of_their_own() -> None:
    packed = pack(FULL)
    assert packed.keys() == {
        "response",
        "prompt",
        "salt",
        "params",
        "model",
        "lane",
        "generates",
        "input",
        "asked",
        "trace",
    }
    assert all(type(value) is bytes for value in packed.values())


def test_a_prompt_takes_four_bytes_a_token() -> None:
    assert pack(LEAST)["prompt"] == b"\x01\0\0\0\x02\0\0\0\x03\0\0\0"


def test_where_there_is_a_recipe_the_prompt_is_left_out() -> None:
    long = msgspec.structs.replace(LEAN, prompt=Prompt(tuple(range(10_000))))
    assert pack(long) == pack(LEAN)
    assert pack(LEAN).keys() - pack(FULL).keys() == {"recipe"}
    assert pack(FULL).keys() - pack(LEAN).keys() == {"prompt", "salt"}


def test_a_prompt_that_is_there_is_not_rendered_again() -> None:
    both = unpack(pack(LEAN) | pack(FULL))
    assert (both.prompt, both.prompt_ref) == (FULL.prompt, None)


def test_one_of_both_must_be_there() -> None:
    with pytest.raises(ValueError, match="without a prompt"):
        pack(msgspec.structs.replace(LEAN, prompt_ref=None))
    lean = pack(LEAN)
    del lean["recipe"]
    with pytest.raises(KeyError):
        unpack(lean)


@pytest.mark.parametrize("record", [LEAST, LEAN])
def test_its_length_is_known_either_way(record: TurnSpec) -> None:
    assert record.prompt_tokens == 3


def test_prompts_are_told_apart() -> None:
    digests = {digest_of(ids_of(Prompt(ids))) for ids in ((), (1,), (1, 2), (2, 1))}
    assert len(digests) == 4


def test_unknown_parameters_of_a_newer_node_are_left_out() -> None:
    packed = pack(LEAST) | {"params": msgspec.msgpack.encode({"max_tokens": 9, "newer": 1}), "newer": b"x"}
    assert unpack(packed) == LEAST


@pytest.mark.parametrize(
    "damage",
    [
        {"prompt": b"\x01\0"},
        {"params": b"\xc1"},
        {"params": msgspec.msgpack.encode({"max_tokens": "x"})},
        {"response": b"{"},
        {"asked": b"noon"},
    ],
)
def test_what_another_version_wrote_is_an_error(damage: dict[str, bytes]) -> None:
    with pytest.raises((ValueError, msgspec.DecodeError)):
        unpack(pack(LEAST) | damage)


@pytest.mark.parametrize("name", sorted(pack(LEAST)))
def test_a_field_that_is_missing_is_an_error(name: str) -> None:
    packed = pack(LEAST)
    del packed[name]
    with pytest.raises(KeyError):
        unpack(packed)


def test_the_suffix_is_the_response_s() -> None:
    assert LEAST.suffix == "abc"


def test_remembered_is_everything_said() -> None:
    answer = {"type": "message", "role": "assistant", "content": "Ho"}
    assert FULL.remembered([answer]) == Remembered("resp_abc", orjson.dumps([*FULL.input, answer]))
