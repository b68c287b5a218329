"""What goes out of one WebSocket: messages as frames, many in one write, and a wait for the peer that can be seen.

RFC 6455, 5.2: a server sends each text message here whole and without a mask.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, MutableMapping, Sequence
from struct import pack
from typing import Any, Protocol

LINK = "throughline.link"  # the ASGI extension that holds the connection's `Link`
AT_ONCE = 32 * 1024  # bytes of several messages in one write
TEXT = 0x81  # FIN, and the opcode of text


Message = MutableMapping[str, Any]  # as ASGI has it
# Begun by whoever awaits it: a coroutine would be left over by a task that is cancelled before its first step.
Job = Callable[[], Coroutine[Any, Any, None]]


class PeerGone(Exception):  # noqa: N818
    """The peer left; nothing can be sent any more."""


class FrameWriter(Protocol):
    """A connection that takes whole frames, several at a time."""

    def try_write(self, frames: bytes) -> bool:
        """Write them, or return False: not while the peer has to read first. Raises where it is gone."""
        ...

    async def write(self, frames: bytes) -> None:
        """Wait until they are written. Raises where the peer is gone."""
        ...


class Link(FrameWriter, Protocol):
    """The web server's end of a connection. It outlives the call of the application."""

    async def receive(self) -> Message:
        """The next message, as ASGI has it."""
        ...

    async def send(self, message: Message) -> None:
        """As ASGI has it: for the goodbye."""
        ...

    def hand_over(self, job: Job) -> None:
        """Run `job` once the application has returned, and close the connection when it ends.

        The handshake is let go meanwhile, and whatever stands between the web server and the application.
        """
        ...


class OutboundBuffer:
    """The one way out of a connection, for any number of lanes. A lane's messages stay in order."""

    __slots__ = ("_queue", "_waiting", "_writer", "blocked_since", "closed")

    def __init__(self, writer: FrameWriter) -> None:
        self.closed = False  # nothing may be sent any more
        self.blocked_since: float | None = None  # while a write waits for the peer to read
        self._writer = writer
        self._waiting = asyncio.Lock()  # held by the one lane whose write waits; the others queue behind it
        self._queue = 0  # lanes that hold it or want to

    async def send(self, texts: Iterable[bytes]) -> None:
        """Send messages in order, once the peer has read enough. Those of other lanes may come in between.

        Raises PeerGone.
        """
        for frames in buffers(texts, AT_ONCE):
            if self.closed:
                raise PeerGone
            try:
                if self._queue or not self._writer.try_write(frames):
                    await self._write(frames)
            except PeerGone:
                raise
            except Exception as error:  # the peer left: servers raise many things, and all mean this
                self.closed = True
                raise PeerGone from error

    def try_send(self, texts: Sequence[bytes]) -> bool:
        """Send messages in one write if they fit and nothing has to wait; or return False, and `send` knows why."""
        if self.closed or self._queue:
            return False
        frames = framed(texts[0]) if len(texts) == 1 else b"".join(map(framed, texts))
        try:
            return len(frames) <= AT_ONCE and self._writer.try_write(frames)
        except Exception:  # the peer left
            return False

    async def _write(self, frames: bytes) -> None:
        self._queue += 1
        try:
            async with self._waiting:
                await self._write_alone(frames)
        finally:
            self._queue -= 1

    async def _write_alone(self, frames: bytes) -> None:
        if self.closed:
            raise PeerGone
        self.blocked_since = time.monotonic()
        try:
            await self._writer.write(frames)
        finally:
            self.blocked_since = None


def buffers(texts: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """All messages in order, in as few buffers of at most `limit` bytes as they fit; a longer one has its own."""
    gathered: list[bytes] = []
    size = 0
    for text in texts:
        frame = framed(text)
        if gathered and size + len(frame) > limit:
            yield b"".join(gathered)
            gathered, size = [], 0
        gathered.append(frame)
        size += len(frame)
    if gathered:
        yield b"".join(gathered)


def framed(text: bytes) -> bytes:
    """One message as a frame."""
    size = len(text)
    if size < 126:
        return b"%c%c%b" % (TEXT, size, text)
    if size < 1 << 16:
        return pack("!BBH", TEXT, 126, size) + text
    return pack("!BBQ", TEXT, 127, size) + text
