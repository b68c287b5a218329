"""What the scripted engine generates: every token a pure function of the prompt and its index, on any node.

Token ids: 0 to 255 are bytes, END ends the text, the rest are syllables. A prompt is the bytes of its messages, so
`read(prompt.token_ids)` gives them back. Words in the last user message change the answer:

    [tokens=200]      its length; without it 40 to 140 tokens
    [reasoning=5]     the first 5 tokens are reasoning
    [call=name]       a function call (several: [call=a,b]) instead of text
    [first=2.5]       seconds before the first token
    [cancel=name]     the process' tasks of that name are cancelled as it begins, as nobody should
    [fail@12] [hang@5] [die@7] [exit@7]   before the token of that index: this generation fails, waits for ever,
                      the engine dies, the process ends
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from engine.base import Channel, Params, ToolCall
from engine.scripted.example import example

END = 256
SYLLABLES = tuple(
    space + consonant + vowel for space in ("", " ") for consonant in "bdfgklmnprstvz" for vowel in "aeiou"
)
CHARACTERS = tuple(text.encode() for text in ("é", "ß", "—", "語", "🙂", "ñ"))  # 2 to 4 tokens each
BLOCK = 16  # tokens; one such character in each
_MIX = 0x9E3779B97F4A7C15
_LEVER = re.compile(r"\[(\w{1,16})[=@]([^\[\]\s]{1,256})\]")
# Of a lever's value; the rest are int.
_PARSERS: Mapping[str, Callable[[str], Any]] = {"call": str, "cancel": str, "first": float}


@dataclass(frozen=True)
class Levers:
    """Faults and shapes that a test asks for; `fail` to `exit` are token indexes. `None` leaves it to the prompt."""

    tokens: int | None = None
    reasoning: int | None = None
    call: str | None = None
    first: float | None = None  # seconds
    cancel: str | None = None  # name of tasks
    fail: int | None = None
    hang: int | None = None
    die: int | None = None  # the engine
    exit: int | None = None  # the process

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens before which something happens."""
        return frozenset(each for each in (self.fail, self.hang, self.die, self.exit) if each is not None)

    def over(self, prompt: Sequence[int]) -> "Levers":
        """These where they are set, else those in the prompt's last user message. Raises ValueError for a bad value."""
        requested = _levers_in(read(prompt).rpartition("<user>")[2])
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(requested, **{name: value for name, value in own.items() if value is not None})


def _levers_in(message: str) -> Levers:
    names = {field.name for field in fields(Levers)}
    found = {name: value for name, value in _LEVER.findall(message) if name in names}
    return Levers(**{name: _PARSERS.get(name, int)(value) for name, value in found.items()})


def write(messages: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    """Messages as token ids, one for each byte. Raises KeyError, TypeError, AttributeError for malformed ones."""
    return tuple("".join(f"<{message['role']}>{_content(message)}\n" for message in messages).encode())


def estimated_size(messages: Iterable[Mapping[str, Any]]) -> int:
    """About how many bytes `write` makes, at little cost."""
    return sum(16 + len(message.get("content") or "") for message in messages)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    calls = message.get("tool_calls") or ()
    return content + "".join(f"{call['function']['name']}({call['function']['arguments']})" for call in calls)


def read(ids: Sequence[int]) -> str:
    """The text of token ids."""
    try:
        raw = bytes(ids)  # all of a prompt's are bytes
    except ValueError:
        raw = b"".join(token_bytes(token) for token in ids)
    return raw.decode(errors="replace")


def token_bytes(token: int) -> bytes:
    """The bytes that a token stands for: none for END."""
    if token < END:
        return bytes((token,))
    return SYLLABLES[token - END - 1].encode() if token > END else b""


@dataclass(frozen=True)
class Token:
    """One token of an answer, and the function call that it opens."""

    id: int
    channel: Channel = Channel.TEXT
    call: ToolCall | None = None


class Script:
    """The whole answer to one prompt, computed token by token."""

    def __init__(self, prompt: Sequence[int], params: Params, levers: Levers) -> None:
        self._seed = zlib.crc32(read(prompt).encode())
        names = levers.call.split(",") if levers.call else _forced(params)
        self._reasoning = levers.reasoning or 0  # tokens before everything else
        self._calls = tuple(token for index, name in enumerate(names) for token in self._call(index, name))
        is_shaped = params.format is not None and not names
        self._json = json.dumps(example(params.format.schema or {})).encode() if params.format and is_shaped else b""
        chatty = not (levers.call or params.format or _forced(params))
        length = 40 + self._seed % 100 if levers.tokens is None else levers.tokens
        fixed = self._reasoning + len(self._calls) + len(self._json)
        self.length = max(length, fixed) if chatty else fixed

    def at(self, index: int) -> Token:
        """The token of this index; beyond `length` the text goes on without an end."""
        if index < self._reasoning:
            return Token(self._word(index), Channel.REASONING)
        behind = index - self._reasoning
        if behind < len(self._calls):
            return self._calls[behind]
        behind -= len(self._calls)
        return Token(self._json[behind] if behind < len(self._json) else self._word(index))

    def _call(self, index: int, name: str) -> Iterator[Token]:
        call = ToolCall(index, f"call_{self._seed:08x}{index}", name)
        words = "".join(SYLLABLES[self._mix(index, i) % len(SYLLABLES)] for i in range(8))
        first, *rest = json.dumps({"words": words}).encode()
        yield Token(first, Channel.TOOL, call)
        yield from (Token(byte, Channel.TOOL) for byte in rest)

    def _word(self, index: int) -> int:
        block, offset = divmod(index, BLOCK)
        chosen = self._mix(block, -1)
        character = CHARACTERS[chosen % len(CHARACTERS)]
        within = offset - 4 - (chosen >> 8) % 7
        if 0 <= within < len(character):
            return character[within]
        if offset == BLOCK - 1 and chosen % 5 == 0:
            return ord("\n")
        return END + 1 + self._mix(index, 0) % len(SYLLABLES)

    def _mix(self, a: int, b: int) -> int:
        mixed = ((self._seed << 20) + a * 0x10001 + b) * _MIX & 0xFFFFFFFFFFFFFFFF
        return mixed >> 29


def _forced(params: Params) -> list[str]:
    """Names of the calls that a request insists on."""
    if isinstance(params.tool_choice, dict):
        return [str(params.tool_choice["name"])]
    if params.tool_choice == "required":
        return [str(params.tools[0]["name"])]
    return []
