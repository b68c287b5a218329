"""Messages as frames: what one write holds, and who waits."""

import asyncio

import pytest
from websockets.frames import Frame, Opcode

from server.web.transport.outbound import AT_ONCE, OutboundBuffer, PeerGone, buffers, framed


class Peer:
    """A connection whose other end reads, does not, or is gone."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = False
        self.waiting = self.waited = 0  # writes now, and the most at once

    def try_write(self, frames: bytes) -> bool:
        if self.gone:
            raise ConnectionError
        if self.reads.is_set():
            self.written.append(frames)
        return self.reads.is_set()

    async def write(self, frames: bytes) -> None:
        self.waiting += 1
        self.waited = max(self.waited, self.waiting)
        while not self.try_write(frames):
            await self.reads.wait()
        self.waiting -= 1


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_frame_is_what_the_library_makes(size: int) -> None:
    text = b"x" * size
    assert framed(text) == Frame(Opcode.TEXT, text).serialize(mask=False)


@pytest.mark.parametrize(
    ("texts", "together"),
    [
        ([], []),
        ([b"a"], [[b"a"]]),
        ([b"a", b"b"], [[b"a", b"b"]]),
        ([b"1234", b"1234", b"1234"], [[b"1234", b"1234"], [b"1234"]]),
        ([b"a", b"x" * 50, b"b"], [[b"a"], [b"x" * 50], [b"b"]]),
    ],
)
def test_what_fits_goes_together(texts: list[bytes], together: list[list[bytes]]) -> None:
    assert list(buffers(texts, 12)) == [b"".join(map(framed, each)) for each in together]


async def test_messages_that_are_there_are_one_write() -> None:
    peer = Peer()
    await OutboundBuffer(peer).send([b"a", b"b"])
    assert peer.written == [framed(b"a") + framed(b"b")]


async def test_no_two_writes_wait_for_the_peer_at_once() -> None:
    """What may come too much for the connection is one write, however many lanes there are."""
    peer = Peer()
    out = OutboundBuffer(peer)
    peer.reads.clear()
    lanes = [asyncio.create_task(out.send([bytes([65 + n]) * AT_ONCE])) for n in range(3)]
    await asyncio.sleep(0)
    assert out.blocked_since is not None
    assert peer.written == []
    peer.reads.set()
    await asyncio.gather(*lanes)
    assert [frames[-1:] for frames in peer.written] == [b"A", b"B", b"C"]
    assert peer.waited == 1
    assert out.blocked_since is None


async def test_a_lane_that_is_cancelled_while_it_waits_leaves_nothing() -> None:
    peer = Peer()
    out = OutboundBuffer(peer)
    peer.reads.clear()
    lane = asyncio.create_task(out.send([b"a"]))
    await asyncio.sleep(0)
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)
    assert out.blocked_since is None
    peer.reads.set()
    await out.send([b"b"])
    assert peer.written == [framed(b"b")]


async def test_a_peer_that_left_is_said_so_once_and_for_all() -> None:
    peer = Peer()
    out = OutboundBuffer(peer)
    peer.gone = True
    with pytest.raises(PeerGone):
        await out.send([b"a"])
    peer.gone = False
    with pytest.raises(PeerGone):
        await out.send([b"b"])
    assert peer.written == []


async def test_lanes_that_wait_when_it_closes_send_nothing_more() -> None:
    peer = Peer()
    out = OutboundBuffer(peer)
    peer.reads.clear()
    lanes = [asyncio.create_task(out.send([b"a"])) for _ in range(2)]
    await asyncio.sleep(0)
    out.closed = True
    peer.gone = True
    peer.reads.set()
    results = await asyncio.gather(*lanes, return_exceptions=True)
    assert [type(result) for result in results] == [PeerGone, PeerGone]


async def test_what_can_go_at_once_is_one_write() -> None:
    peer = Peer()
    assert OutboundBuffer(peer).try_send([b"a", b"b"])
    assert peer.written == [framed(b"a") + framed(b"b")]


async def test_what_cannot_go_at_once_is_not_sent_and_raises_nothing() -> None:
    peer = Peer()
    out = OutboundBuffer(peer)
    assert not out.try_send([b"x" * AT_ONCE])
    peer.reads.clear()
    assert not out.try_send([b"a"])
    lane = asyncio.create_task(out.send([b"b"]))
    await asyncio.sleep(0)
    peer.reads.set()
    assert not out.try_send([b"c"])  # another lane waits: it would overtake
    await lane
    peer.gone = True
    assert not out.try_send([b"d"])
    out.closed = True
    assert not out.try_send([b"e"])
    assert peer.written == [framed(b"b")]
