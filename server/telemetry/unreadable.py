"""What the store holds and nobody here can make sense of: each is logged once, counted once and passed over.

A record that another release, another program or a fault left behind must cost only itself: whoever reads many judges
each alone, and reports here what he leaves out.
"""

from collections.abc import Callable

import structlog

REMEMBERED = 10_000  # records that were reported; the oldest of more is reported again when it is met again
SHOWN_CHARACTERS = 200

log = structlog.get_logger(__name__)


class UnreadableRecords:
    """Those that were met so far. `on_new` is called with the kind of each that had not been met before."""

    def __init__(self, on_new: Callable[[str], None] = lambda kind: None) -> None:
        self._on_new = on_new
        self._known: dict[tuple[str, str], None] = {}  # the oldest first

    def report(self, kind: str, name: str | bytes, why: Exception | str) -> None:
        """Note a record that is passed over. `kind` comes from a small fixed set, `name` says which of them it is.

        Of an exception only the type is logged: its message may repeat what the record holds.
        """
        text = name if isinstance(name, str) else name.decode(errors="backslashreplace")
        text = text[:SHOWN_CHARACTERS]
        if (kind, text) in self._known:
            return
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[kind, text] = None
        reason = why[:SHOWN_CHARACTERS] if isinstance(why, str) else type(why).__name__
        log.error("record_unreadable", kind=kind, name=text, reason=reason)
        self._on_new(kind)
