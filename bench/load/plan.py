"""Requests of a run: sessions of one or more turns, drawn before the first is sent. Pure; a seed gives one plan."""

import random
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bench.load.lengths import Length

VOCABULARY = (
    "river stone window green quiet morning letter garden seven bridge winter music paper yellow harbor table engine "
    "forest silver question answer market island summer thunder candle mirror village orange shadow number story"
)
WORDS = VOCABULARY.split()


class Ask(msgspec.Struct, frozen=True):
    """One turn: what the user says, and how many tokens the answer has."""

    text: str
    output_tokens: int


class Session(msgspec.Struct, frozen=True):
    """A user's turns, one after the other. `at` is when the first is meant to be sent; none in a closed loop."""

    asks: tuple[Ask, ...]
    at: float | None = None  # seconds after the start


class Shape(msgspec.Struct, frozen=True):
    """The distributions that sessions are drawn from."""

    prompt_words: Length
    output_tokens: Length
    turns: int = 1
    conversations: tuple[tuple[str, ...], ...] = ()  # taken in turn in place of drawn words


def sessions(shape: Shape, count: int, rng: random.Random) -> Iterator[Session]:
    """Draw `count` sessions."""
    for index in range(count):
        yield Session(tuple(_asks(shape, index, rng)))


def timed(drawn: Iterable[Session], points: Iterable[float]) -> list[Session]:
    """Give each its time, for as many as have one."""
    return [msgspec.structs.replace(session, at=at) for session, at in zip(drawn, points, strict=False)]


def share(whole: Sequence[Session], part: int, parts: int) -> list[Session]:
    """What one of several client processes sends."""
    return list(whole[part::parts])


def conversations(lines: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The user's messages of recorded chats, one chat a line: `["Hi", "And then?"]`, `{"turns": [...]}`, or
    `{"messages": [{"role": "user", "content": "Hi"}, ...]}`. Raises ValueError with the line's number."""
    return tuple(_conversation(number, line) for number, line in enumerate(lines, 1) if line.strip())


def _asks(shape: Shape, index: int, rng: random.Random) -> Iterator[Ask]:
    if shape.conversations:
        texts: Iterable[str] = shape.conversations[index % len(shape.conversations)]
    else:
        texts = (_words(shape.prompt_words.draw(rng), rng) for _ in range(shape.turns))
    for text in texts:
        yield Ask(text, shape.output_tokens.draw(rng))


def _words(count: int, rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def _conversation(number: int, line: str) -> tuple[str, ...]:
    try:
        value = msgspec.json.decode(line)
        texts = tuple(_texts(value))
    except (msgspec.DecodeError, KeyError, TypeError):
        texts = ()
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"line {number} holds no user messages: {line.strip()[:80]}")
    return texts


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "turns" in value:
        turns: list[str] = value["turns"]
        return turns
    messages = value["messages"] if isinstance(value, dict) else ()
    return [message["content"] for message in messages if message["role"] == "user"]
