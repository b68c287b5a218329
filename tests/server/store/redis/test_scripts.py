"""Each script's declaration in Python and its Lua file agree: same names, in the same order, all of them used."""

import re
from pathlib import Path

import pytest

from server.store.redis import scripts
from server.store.redis.lua_call import LUA, LuaCall, LuaScript
from server.store.redis.store import RedisStore

CALLS = [
    value
    for value in vars(scripts).values()
    if isinstance(value, type) and issubclass(value, LuaCall) and value.__module__ == scripts.__name__
]
SCRIPTS = [call.script for call in CALLS]
FOLDER = Path(str(LUA))
INCLUDES = {path.stem: path.read_text() for path in (FOLDER / "include").glob("*.lua")}
EACH = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)


def lua_file(script: LuaScript) -> str:
    """The file as it was written, without its prelude and what it includes."""
    return (FOLDER / f"{script.name}.lua").read_text()


def code(source: str) -> str:
    """Lua without comments and strings."""
    return re.sub(r"--.*|'[^'\n]*'", "", source)


def header(source: str, section: str) -> list[str]:
    """The names that a section of the header explains."""
    found = re.search(rf"^-- {section}\b[^\n]*\n((?:--   .*\n)+)", source, re.MULTILINE)
    return re.findall(r"^--   (\w+)", found[1], re.MULTILINE) if found else []


def complaints(script: LuaScript, source: str) -> list[str]:
    """What is wrong with a Lua file under a declaration."""
    args = [*script.args, *([script.rest] if script.rest else [])]
    wrong = []
    if header(source, "KEYS") != list(script.keys):
        wrong.append("the header names other KEYS")
    if header(source, "ARGV") != args:
        wrong.append("the header names other ARGV")
    if not re.search(r"^-- RESULT  \S", source, re.MULTILINE):
        wrong.append("the header does not say the RESULT")
    if re.search(r"\b(KEYS|ARGV)\b", code(source)):
        wrong.append("counts positions")
    included = "".join(INCLUDES[name] for name in re.findall(r'^--- @include "(\w+)"$', source, re.MULTILINE))
    unused = [name for name in (*script.keys, *args) if not re.search(rf"\b{name}\b", code(source))]
    unused += [name for name in script.constants if not re.search(rf"\b{name}\b", code(source + included))]
    return wrong + [f"does not use {name}" for name in unused]


def test_every_lua_file_has_a_declaration() -> None:
    assert {path.stem for path in FOLDER.glob("*.lua")} == {script.name for script in SCRIPTS}


def test_every_declaration_is_documented_by_the_method_that_runs_it() -> None:
    for call in CALLS:
        contract, method = re.fullmatch(r"`(\w+)\.(\w+)`\.", call.__doc__ or "").groups()  # type: ignore[union-attr]
        assert hasattr(RedisStore, method), (call, contract)


@EACH
def test_declaration_and_lua_file_agree(script: LuaScript) -> None:
    assert complaints(script, lua_file(script)) == []


@EACH
def test_constants_are_written_in_python_only(script: LuaScript) -> None:
    source = re.sub(r"--.*", "", lua_file(script) + "".join(INCLUDES.values()))
    for value in script.constants.values():
        assert not re.search(f"'{value}'" if isinstance(value, str) else rf"\b{value}\b", source)


def test_includes_are_used_and_count_no_positions() -> None:
    used = {name for script in SCRIPTS for name in re.findall(r'@include "(\w+)"', lua_file(script))}
    assert used == set(INCLUDES)
    assert [name for name, source in INCLUDES.items() if re.search(r"\b(KEYS|ARGV)\b", code(source))] == []


@EACH
async def test_redis_compiles_each_script_under_the_digest_that_we_call(redis: RedisStore, script: LuaScript) -> None:
    assert await redis._client.call("SCRIPT", "LOAD", script.source) == script.sha.encode()


GOOD = (
    "-- Read.\n-- KEYS\n--   turn  hash\n-- ARGV\n--   id    of it\n-- RESULT  1\nreturn redis.call('HGET', turn, id)\n"
)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("", "", None),
        ("--   turn  hash\n", "", "the header names other KEYS"),
        ("--   id    of it\n", "--   id    of it\n--   more  of it\n", "the header names other ARGV"),
        ("-- RESULT  1\n", "", "the header does not say the RESULT"),
        ("turn, id)", "KEYS[1], turn, id)", "counts positions"),
        ("turn, id)", "turn, 'id')", "does not use id"),
    ],
)
def test_disagreement_is_found(old: str, new: str, complaint: str | None) -> None:
    script = LuaScript("read", ("turn",), ("id",), None, {}, "", "")
    assert complaints(script, GOOD.replace(old, new)) == ([] if complaint is None else [complaint])
