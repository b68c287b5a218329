"""Key names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.store.redis import keys as keys_module
from server.store.redis.keys import Keys, digest

TEXT = st.text(min_size=1)


@given(TEXT, TEXT)
def test_everything_of_a_caller_has_one_hash_tag(caller: str, id: str) -> None:
    keys = Keys(16)
    names = [
        make(caller, id)
        for make in (keys.turn, keys.log, keys.response, keys.tombstone, keys.idempotency, keys.segment,
                     keys.conversation, keys.items, keys.positions)
    ]  # fmt: skip
    names += [keys.conversations(caller), keys.unfinished(keys.partition(caller))]
    tag = f"{{{keys.partition(caller)}}}"
    for name in names:
        found = re.search(r"\{[^}]*\}", name)
        assert found is not None
        assert found[0] == tag
    assert len(set(names)) == len(names)


@given(TEXT, TEXT)
def test_callers_with_different_names_share_no_key(one: str, other: str) -> None:
    if one != other:
        assert Keys().turn(one, "x") != Keys().turn(other, "x")


def test_a_single_redis_has_one_partition() -> None:
    assert {Keys().partition(f"caller {n}") for n in range(100)} == {0}
    assert {Keys(16).partition(f"caller {n}") for n in range(1000)} == set(range(16))


@pytest.mark.parametrize(("caller", "partition"), [("alice", 5), ("bob", 12)])
def test_partitions_never_move(caller: str, partition: int) -> None:
    assert Keys(16).partition(caller) == partition


def test_prefix_and_member_make_the_key() -> None:
    keys = Keys(16)
    partition = keys.partition("alice")
    assert keys.turn_prefix(partition) + keys.member("alice", "resp_1") == keys.turn("alice", "resp_1")
    assert keys.log_prefix(partition) + keys.member("alice", "resp_1") == keys.log("alice", "resp_1")
    assert keys.segment_prefix(partition) + keys.member("alice", "s") == keys.segment("alice", "s")
    assert keys.items_prefix(partition) + keys.member("alice", "s") == keys.items("alice", "s")
    assert len(digest("alice")) == 16


def test_long_texts_are_not_remembered() -> None:
    """Each would stay in memory until as many others came."""
    before = [cache.cache_info().currsize for cache in (keys_module._turn_and_log, keys_module._short_digest)]
    long = "x" * 1000
    keys = Keys()
    assert keys.turn_and_log("alice", long) == (keys.turn("alice", long), keys.log("alice", long))
    keys.idempotency("alice", long)
    keys.ticket(long)
    keys.conversation("alice", long)
    after = [cache.cache_info().currsize for cache in (keys_module._turn_and_log, keys_module._short_digest)]
    assert after[0] == before[0]
    assert after[1] <= before[1] + 1  # the caller's own
