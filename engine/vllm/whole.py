"""Whether an answer that ended by itself is as whole as its grammar wants.

A grammar that runs into a limit of its library lets nothing follow but the end, and the engine reports an ordinary one.
"""

from collections.abc import Iterable

import msgspec

from engine.base import Channel, Delta, EngineError


class WholeAnswer:
    """Collects an answer that follows a grammar: a value in JSON, or calls with one each."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: list[list[str]] = []

    def add(self, deltas: Iterable[Delta]) -> None:
        """In the order in which they were said, those too that clients were shown before."""
        for delta in deltas:
            if delta.call is not None:
                self._calls.append([])
            if delta.channel is Channel.TOOL and self._calls:
                self._calls[-1].append(delta.text)
            elif delta.channel is Channel.TEXT:
                self._text.append(delta.text)

    def check(self) -> None:
        """Raise EngineError unless all calls, or the text where there are none, are JSON. Blocks for a long text."""
        for parts in self._calls or [self._text]:
            try:
                msgspec.json.decode("".join(parts))
            except ValueError as error:
                raise EngineError("the grammar of this answer became too complex to follow") from error
