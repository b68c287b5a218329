"""What of a replayed answer its viewers have not seen yet."""

from collections.abc import Iterable, Iterator

from engine.base import CannotContinue, Channel, Delta, Said


def unsaid(replayed: Iterable[Delta], said: Said) -> list[Delta]:
    """Drop what was shown from the front of each channel. Raises CannotContinue where the replay differs from it."""
    shown = _Shown(said)
    rest = list(shown.drop(replayed))
    shown.check()
    return rest


class _Shown:
    def __init__(self, said: Said) -> None:
        self._texts = {Channel.TEXT: said.text, Channel.REASONING: said.reasoning, Channel.TOOL: said.arguments}
        self._calls = said.calls  # that are still to be met in the replay

    def drop(self, replayed: Iterable[Delta]) -> Iterator[Delta]:
        for delta in replayed:
            if delta.call is not None:
                self._calls -= 1
            if delta.channel is Channel.TOOL and self._calls > 0:
                continue  # a call before the last one that was shown: all of its arguments were
            if delta.channel is Channel.TOOL and self._calls < 0:
                yield delta
                continue
            text = self._cut(delta)
            if text:
                yield Delta(delta.channel, text)

    def _cut(self, delta: Delta) -> str:
        shown = self._texts[delta.channel]
        common = min(len(shown), len(delta.text))
        if shown[:common] != delta.text[:common]:
            raise _mismatch(delta.channel)
        self._texts[delta.channel] = shown[common:]
        return delta.text[common:]

    def check(self) -> None:
        for channel, text in self._texts.items():
            if text:
                raise _mismatch(channel)
        if self._calls > 0:
            raise _mismatch(Channel.TOOL)


def _mismatch(channel: Channel) -> CannotContinue:
    return CannotContinue(f"the logged token ids do not decode to the {channel.value} that was shown")
