"""Lua scripts as typed calls: a class declares a script's KEYS and ARGV once, by name, for both languages.

`@lua_script` on a `LuaCall` named `ClaimTurn` compiles `lua/claim_turn.lua`: in front of the file it puts a prelude,
generated from the class, that makes a Lua local of every field and of every constant. So neither side counts
positions: Python passes keywords, Lua uses the same names. A line `--- @include "name"` in a Lua file is replaced by
`lua/include/name.lua`, whose functions are given all that they need as parameters.

Two forms have no fixed length:

- a last field of the type `Rest` takes all further arguments, and is a table in Lua;
- a `LuaBatchCall` repeats the fields of a `LuaShare`. Its file loops `for n = 1, share_count do select_share(n)`,
  after which the locals hold the n-th share's values.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_type_hints

import msgspec
from msgspec.structs import astuple

Arg = str | bytes | int
Key = Annotated[str, "key"]
Rest = Annotated[Sequence[Arg], "rest"]

Reply = TypeVar("Reply")  # the answer of Redis, in the types of RESP2
Call = TypeVar("Call", bound="type[LuaCall[Any]]")

INCLUDE = re.compile(r'^--- @include "(\w+)"$', re.MULTILINE)
LUA = files("server.store.redis").joinpath("lua")


class LuaScript(msgspec.Struct, frozen=True):
    """A compiled script: what is sent to Redis, and the declaration that it was made from."""

    name: str  # of its file
    keys: tuple[str, ...]
    args: tuple[str, ...]  # without `rest`
    rest: str | None
    constants: dict[str, str | int]
    source: str
    sha: str  # SHA-1 of the source, by which Redis knows it
    is_repeatable: bool = True  # run twice it does, and answers, what it does once


class LuaCall(msgspec.Struct, Generic[Reply], frozen=True, kw_only=True, gc=False):
    """One call of a script. Fields that are keys come first; the key that decides the server is the first of all."""

    script: ClassVar[LuaScript]

    @property
    def first_key(self) -> str:
        """The key that decides which server is called."""
        key: str = getattr(self, self.script.keys[0])
        return key

    def parameters(self) -> list[Arg]:
        """The number of keys, the keys and the arguments, as they follow the digest in EVALSHA."""
        values = [len(self.script.keys), *astuple(self)]
        if self.script.rest is not None:
            values += values.pop()
        return values


class LuaShare(msgspec.Struct, frozen=True, gc=False):
    """The KEYS and ARGV of one of the many things that a batch writes."""


class LuaBatchCall(LuaCall[Reply], frozen=True, kw_only=True):
    """One call of a script for many shares. In KEYS and ARGV all values of one field lie together."""

    shares: Sequence[LuaShare]

    @property
    def first_key(self) -> str:
        """The same of the first share. All shares must be on one server."""
        key: str = getattr(self.shares[0], self.script.keys[0])
        return key

    def parameters(self) -> list[Arg]:
        """The same for all shares, field by field. On the hot path: with one share there is nothing to transpose."""
        parameters: list[Arg] = [len(self.script.keys) * len(self.shares)]
        if len(self.shares) == 1:
            parameters += astuple(self.shares[0])
        else:
            for column in zip(*map(astuple, self.shares), strict=True):
                parameters += column
        return parameters


def lua_script(
    *, share: type[LuaShare] | None = None, is_repeatable: bool = True, **constants: str | int
) -> Callable[[Call], Call]:
    """Compile the Lua file that a class is named after, once, when the class is made.

    A call that is not repeatable answers something else where it was applied before, unknown to its caller: a client
    never sends it twice.
    """

    def compiled(call: Call) -> Call:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", call.__name__).lower()
        script = _compile(name, call if share is None else share, constants, is_batch=share is not None)
        call.script = msgspec.structs.replace(script, is_repeatable=is_repeatable)
        return call

    return compiled


def _compile(name: str, fields: type[msgspec.Struct], constants: dict[str, str | int], *, is_batch: bool) -> LuaScript:
    hints = get_type_hints(fields, include_extras=True)
    names = fields.__struct_fields__
    keys = tuple(field for field in names if hints[field] == Key)
    rest = names[-1] if hints[names[-1]] == Rest else None
    args = tuple(field for field in names if field not in (*keys, rest))
    if names != (*keys, *args, *((rest,) if rest else ())):
        raise TypeError(f"{fields.__name__}: keys come first, the rest comes last")
    prelude = [f"local {constant} = {_literal(value)}" for constant, value in constants.items()]
    prelude += _batch_prelude(keys, args) if is_batch else _prelude(keys, args, rest)
    source = "\n".join([*prelude, INCLUDE.sub(_included, _read(f"{name}.lua"))])
    digest = sha1(source.encode()).hexdigest()
    return LuaScript(name, keys, args, rest, constants, source, digest)


def _read(*path: str) -> str:
    return LUA.joinpath(*path).read_text()


def _included(match: re.Match[str]) -> str:
    return _read("include", f"{match[1]}.lua").rstrip("\n")


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f"'{value!s}'"


def _prelude(keys: tuple[str, ...], args: tuple[str, ...], rest: str | None) -> list[str]:
    lines = [_locals("KEYS", keys), _locals("ARGV", args)]
    if rest is not None:
        lines.append(f"local {rest} = {{unpack(ARGV, {len(args) + 1})}}")
    return [line for line in lines if line]


def _locals(table: str, names: tuple[str, ...]) -> str:
    values = ", ".join(f"{table}[{n}]" for n in range(1, len(names) + 1))
    return f"local {', '.join(names)} = {values}" if names else ""


def _batch_prelude(keys: tuple[str, ...], args: tuple[str, ...]) -> list[str]:
    columns = [
        f"{', '.join(names)} = {', '.join(_share_value(table, n) for n in range(len(names)))}"
        for table, names in (("KEYS", keys), ("ARGV", args))
    ]
    return [
        f"local share_count = #KEYS / {len(keys)}",
        f"local {', '.join((*keys, *args))}",
        f"local function select_share(share) {'; '.join(columns)} end",
    ]


def _share_value(table: str, column: int) -> str:
    offset = {0: "", 1: "share_count + "}.get(column, f"{column} * share_count + ")
    return f"{table}[{offset}share]"
