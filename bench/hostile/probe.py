"""How long the callbacks of a uvloop event loop take, by the CPU clock of the loop's thread.

Wall time would charge the loop for whatever else runs on the machine; CPU time of its thread is what it did itself.

Three sources, since uvloop runs its handles in C, where asyncio's debug mode does not see them:

- handles: `call_soon` and `call_later` wrap each callback, so steps of tasks are timed one by one;
- a heartbeat, a timer of `BEAT` seconds, ends a *turn* of the loop. What a turn's handles did not use was used by
  callbacks that uvloop calls itself, as `data_received`: all of those in one turn, which bounds the longest from above;
- a thread looks at the same clock from outside and keeps the loop's stack while a turn is long.
"""

import json
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

BEAT = 0.002  # seconds: a figure may be too large by as much, and by nothing else
LOOK = 0.005  # seconds between two looks from outside
LONG = 0.015  # seconds of CPU in one turn, after which the stack is looked at
OWN = ("/server/", "/engine/")  # folders whose innermost call is named, beside the innermost of all
NS = 1e-9


class Reading(msgspec.Struct):
    """What was longest since the last reset. Seconds of the loop thread's CPU, but `at`."""

    callback: float = 0.0  # the longest handle, or what one turn's other callbacks used together
    turn: float = 0.0  # all of one turn of the loop: what everybody else waited for
    at: float = 0.0  # perf_counter's time when the longest callback had ended
    stacks: dict[str, int] = {}  # seen in the longest turn that was looked at, and how often
    looked_at: float = 0.0  # how far that turn was


class LoopProbe:
    """Attached to the first loop that runs. Its methods run on the loop's thread, unless they say otherwise."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.thread = 0  # that runs the loop, once it does
        self.turn_began = 0  # ns of the thread's CPU clock
        self._handles = 0  # ns that handles used in this turn
        self._longest = 0  # ns of the longest of them
        self._stacks: dict[str, int] = {}  # seen in the turn that began at `_looked`
        self._looked = 0
        self._call_later: Callable[..., Any] | None = None

    def attach(self, loop_class: Any) -> None:
        """Time what loops of this class run."""
        call_soon, call_later = loop_class.call_soon, loop_class.call_later
        self._call_later = call_later

        def timed_soon(loop: Any, callback: Any, *args: Any, context: Any = None) -> Any:
            if not self.thread:
                self._begin(loop)
            return call_soon(loop, self.time, callback, *args, context=context)

        def timed_later(loop: Any, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            return call_later(loop, delay, self.time, callback, *args, context=context)

        loop_class.call_soon, loop_class.call_later = timed_soon, timed_later

    def time(self, callback: Callable[..., None], *args: Any) -> None:
        """Run a handle's callback."""
        if threading.get_ident() != self.thread:  # a loop of another thread
            callback(*args)
            return
        began = time.thread_time_ns()
        try:
            callback(*args)
        finally:
            took = time.thread_time_ns() - began
            self._handles += took
            self._longest = max(self._longest, took)

    def reset(self) -> None:
        """Forget what was longest; from any thread."""
        self.reading = Reading()

    def look(self, frame: FrameType, used: float) -> None:
        """Note the stack of a long turn; called by the thread that looks from outside."""
        if self._looked != self.turn_began:
            self._looked, self._stacks = self.turn_began, {}
        where = short(frame)
        self._stacks[where] = self._stacks.get(where, 0) + 1
        if used > self.reading.looked_at:
            self.reading.looked_at, self.reading.stacks = used, self._stacks

    def _begin(self, loop: Any) -> None:
        self.thread = threading.get_ident()
        self.turn_began = time.thread_time_ns()
        self._beat(loop)

    def _beat(self, loop: Any) -> None:
        now = time.thread_time_ns()
        turn = now - self.turn_began
        callback = max(self._longest, turn - self._handles) * NS
        reading = self.reading
        reading.turn = max(reading.turn, turn * NS)
        if callback > reading.callback:
            reading.callback, reading.at = callback, time.perf_counter()
        self._handles = self._longest = 0
        assert self._call_later is not None
        self._call_later(loop, BEAT, self._beat, loop)
        self.turn_began = time.thread_time_ns()


class Reporter(threading.Thread):
    """Looks at the loop from outside, and answers on a Unix socket: `reset`, or `read` with the reading as JSON."""

    def __init__(self, probe: LoopProbe, path: Path) -> None:
        super().__init__(name="loop-probe", daemon=True)
        self._probe = probe
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def run(self) -> None:
        """Until the process ends."""
        while True:
            if select.select([self._listener], [], [], LOOK)[0]:
                self._answer()
            if self._probe.thread:
                self._look()

    def _look(self) -> None:
        clock = time.pthread_getcpuclockid(self._probe.thread)
        used = (time.clock_gettime_ns(clock) - self._probe.turn_began) * NS
        if used > LONG:
            self._probe.look(sys._current_frames()[self._probe.thread], used)

    def _answer(self) -> None:
        peer, _ = self._listener.accept()
        with peer:
            if peer.recv(16) == b"reset":
                self._probe.reset()
            peer.sendall(json.dumps(msgspec.to_builtins(self._probe.reading)).encode())


def short(frame: FrameType) -> str:
    """The innermost call of our own code, and the innermost of all."""
    places = [place for place in traceback.extract_stack(frame) if place.filename != __file__]
    own = [place for place in places if any(folder in place.filename for folder in OWN)]
    shown = [
        f"{'/'.join(Path(place.filename).parts[-2:])} {place.name}" for place in (own or places)[-1:] + places[-1:]
    ]
    return " > ".join(dict.fromkeys(shown))


def ask(path: Path, word: str, seconds: float = 10.0) -> Reading:
    """What a process's reporter says; `word` is `read` or `reset`. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(seconds)
        peer.connect(str(path))
        peer.sendall(word.encode())
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
    return msgspec.json.decode(answer, type=Reading)
