"""What became of an input, as its sender saw it. Pure."""

from typing import Any

import msgspec
import orjson

ENDS = frozenset({"response.completed", "response.incomplete"})
FULL = 20  # different refusals of one input whose words are kept
WORDS = 160  # characters of one


class Outcome(msgspec.Struct):
    """Of one input."""

    name: str
    due: int  # answers
    size: int = 0  # bytes
    began: float = 0.0  # perf_counter's time
    ended: float = 0.0
    good: int = 0  # answers that are no refusal
    created: int = 0  # turns that were let in
    over: int = 0  # of these, that ended
    refused: dict[str, int] = {}  # by code; an HTTP status where there was no code
    bare: list[str] = []  # refusals without a code, or without a word about what is wrong
    broken: list[str] = []  # errors inside the server
    closed: str = ""  # how the connection ended, if the node ended it: a close code, `eof`, `reset`

    @property
    def answers(self) -> int:
        """Everything that counts as one; a turn that still runs does."""
        return self.good + sum(self.refused.values()) + max(0, self.created - self.over)

    @property
    def silent(self) -> bool:
        """Something is due, and the connection is still open: the client waits for nothing."""
        return self.answers < self.due and not self.closed

    @property
    def dropped(self) -> bool:
        """The connection ended without a word: no answer, no close code."""
        return self.due > 0 and self.answers == 0 and self.closed in {"eof", "reset"}

    @property
    def refusals(self) -> int:
        """How many."""
        return sum(self.refused.values())

    def event(self, payload: bytes) -> None:
        """An event of a socket."""
        event = orjson.loads(payload)
        kind = event.get("type")
        if kind == "response.created":
            self.created += 1
        elif kind in ENDS or kind == "throughline:cancelled":
            self.good += 1
            self.over += kind in ENDS
        elif kind == "response.failed":
            self.over += 1
            self.refuse(0, event["response"])
        elif kind in {"error", "response.steer.failed"}:
            self.refuse(event.get("status", 0), event)

    def http(self, status: int, body: bytes) -> None:
        """An answer over HTTP."""
        if status < 400:
            self.good += 1
            return
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        self.refuse(status, said if isinstance(said, dict) else {"raw": body[:WORDS].decode("latin-1")})

    def refuse(self, status: int, said: dict[str, Any]) -> None:
        """Note an error object, or that there is none."""
        error = said.get("error")
        error = error if isinstance(error, dict) else {}
        code = str(error.get("code") or f"status {status}")
        self.refused[code] = self.refused.get(code, 0) + 1
        if not error.get("code") or not (error.get("message") or error.get("param")):
            self.bare.append(f"{status} {said}"[:WORDS])
        if code == "server_error" or status == 500:
            self.broken.append(f"{status} {code} {error.get('message')}"[:WORDS])
        del self.bare[FULL:], self.broken[FULL:]
