"""Calls of Lua scripts: what is sent, and what the prelude makes of it."""

import pytest

from server.store.redis.lua_call import Key, LuaCall, LuaScript, _compile, lua_script
from server.store.redis.scripts import (
    AppendEntries,
    AppendShare,
    ClaimTurn,
    CreateTurn,
    FinishTurn,
    ListUnfinishedTurns,
)


def share(n: int) -> AppendShare:
    return AppendShare(f"turn{n}", f"log{n}", f"lease{n}", n, n + 1, b"entry%d" % n)


def prelude(script: LuaScript) -> list[str]:
    return script.source.partition("\n-- ")[0].splitlines()


def test_call_sends_keys_then_arguments_in_the_order_of_their_declaration() -> None:
    call = ClaimTurn(turn="t", seen_lease="1:a", owner="b", above=0, intact_runs="")
    assert call.parameters() == [1, "t", "1:a", "b", 0, ""]
    assert call.first_key == "t"


def test_rest_is_sent_at_the_end() -> None:
    call = ListUnfinishedTurns(
        unfinished="u",
        turn_prefix="t",
        log_prefix="l",
        segment_prefix="s",
        items_prefix="i",
        session_ttl=9,
        fields="xy",
    )
    assert call.parameters() == [5, "u", "t", "l", "s", "i", 9, "x", "y"]


def test_batch_of_one_share_is_sent_like_a_call() -> None:
    call = AppendEntries(shares=[share(1)])
    assert call.parameters() == [2, "turn1", "log1", "lease1", 1, 2, b"entry1"]
    assert call.first_key == "turn1"


def test_batch_sends_the_values_of_each_field_together() -> None:
    assert AppendEntries(shares=[share(1), share(2)]).parameters() == [
        *(4, "turn1", "turn2", "log1", "log2"),
        *("lease1", "lease2", 1, 2, 2, 3, b"entry1", b"entry2"),
    ]


def test_prelude_names_constants_keys_and_arguments() -> None:
    assert prelude(ClaimTurn.script) == [
        "local IN_PROGRESS = 'in_progress'",
        "local turn = KEYS[1]",
        "local seen_lease, owner, above, intact_runs = ARGV[1], ARGV[2], ARGV[3], ARGV[4]",
    ]


def test_prelude_makes_a_table_of_the_rest() -> None:
    assert prelude(CreateTurn.script)[-1] == "local record = {unpack(ARGV, 15)}"


def test_prelude_of_a_batch_selects_a_share() -> None:
    assert prelude(AppendEntries.script) == [
        "local HOLE = 1000",
        "local share_count = #KEYS / 2",
        "local turn, log, lease, after_seq, last_seq, entry",
        "local function select_share(share) turn, log = KEYS[share], KEYS[share_count + share]; "
        "lease, after_seq, last_seq, entry = ARGV[share], ARGV[share_count + share], "
        "ARGV[2 * share_count + share], ARGV[3 * share_count + share] end",
    ]


def test_included_files_are_part_of_the_source() -> None:
    assert "@include" not in FinishTurn.script.source
    assert "local function is_over_hole(" in FinishTurn.script.source


def test_keys_behind_arguments_are_refused() -> None:
    class Wrong(LuaCall[int], frozen=True, kw_only=True):
        owner: str
        nodes: Key

    with pytest.raises(TypeError, match="keys come first"):
        _compile("beat", Wrong, {}, is_batch=False)


def test_class_without_a_lua_file_is_refused() -> None:
    class NoSuchScript(LuaCall[int], frozen=True, kw_only=True):
        nodes: Key

    with pytest.raises(FileNotFoundError, match=r"no_such_script\.lua"):
        lua_script()(NoSuchScript)
