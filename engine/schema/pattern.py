"""What a regular expression in a schema costs, and what of it no grammar follows. Nothing is compiled here."""

import re

from engine.schema.limits import MAX_PATTERN, MAX_REPEATS

_COUNT = re.compile(r"\{(\d{1,9})(,(\d{0,9}))?\}")
_LOOK = ("(?=", "(?!", "(?<=", "(?<!")


class PatternError(ValueError):
    """The pattern is refused; the message is the reason."""


def check_pattern(pattern: str) -> None:
    """Raise PatternError for one that is too costly, or uses what only a backtracking engine can follow."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"has more than {MAX_PATTERN} characters")
    if _Scanner(pattern).atoms() > MAX_REPEATS + len(pattern):
        raise PatternError(f"repeats more than {MAX_REPEATS} times, counts inside each other multiplied")


class _Scanner:
    """Reads a pattern once, from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def atoms(self) -> int:
        """Characters and classes that the pattern has once its counts are written out."""
        sums = [0]  # of the groups that are open, the pattern itself first
        while self._at < len(self._pattern):
            character = self._pattern[self._at]
            if character == "(":
                self._open()
                sums.append(0)
                continue
            if character == ")" and len(sums) > 1:
                self._at += 1
                atom = sums.pop()
            else:
                atom = self._atom(character)
            sums[-1] += atom * self._count()
        return sum(sums)

    def _open(self) -> None:
        if self._pattern.startswith(_LOOK, self._at):
            raise PatternError("an answer cannot be held to look-ahead or look-behind")
        self._at += 1

    def _atom(self, character: str) -> int:
        if character == "\\":
            self._escape()
        elif character == "[":
            self._skip_class()
        else:
            self._at += 1
        return 1

    def _escape(self) -> None:
        following = self._pattern[self._at + 1 : self._at + 2]
        if following in {"b", "B"}:
            raise PatternError("an answer cannot be held to word boundaries")
        if following == "k" or (following.isdigit() and following != "0"):
            raise PatternError("an answer cannot be held to references to a group")
        self._at += 2

    def _skip_class(self) -> None:
        self._at += 2 if self._pattern.startswith("[^", self._at) else 1
        first = True
        while self._at < len(self._pattern) and (first or self._pattern[self._at] != "]"):
            self._at += 2 if self._pattern[self._at] == "\\" else 1
            first = False
        self._at += 1

    def _count(self) -> int:
        """How often the quantifier at this place repeats what is before it, at most; 1 for those without an end."""
        match = _COUNT.match(self._pattern, self._at)
        if match is None:
            return 1
        self._at = match.end()
        return max(1, int(match[3] or match[1]))
