"""The client's clock against that of a server which notes when it wrote what.

Both run in one process and on one clock, so nothing can be seen before it was written, and a busy machine only makes
the difference larger.
"""

import asyncio
from itertools import pairwise

import pytest

from bench.load.metrics import peak
from bench.load.plan import timed
from bench.load.pool import Channel
from bench.load.sample import Sample
from tests.bench.load.conftest import ALL, Sending, sessions
from tests.bench.load.fake import Fake, Written

SLACK = 0.5  # seconds that a busy machine may take between a write and its arrival

pytestmark = pytest.mark.parametrize("target", ALL)


def agree(sample: Sample, written: Written) -> None:
    """The sample says what the server did."""
    assert sample.error is None
    assert 0 <= written.came - sample.sent < SLACK
    arrived = [*sample.stamps, sample.ended]
    wrote = [*written.texts, written.ended]
    assert len(arrived) == len(wrote)
    assert all(0 <= there - here < SLACK for there, here in zip(arrived, wrote, strict=True))


async def test_every_event_is_stamped_when_it_arrives(server: Fake, target: str) -> None:
    server.delays = (0.08, 0.03, 0.05, 0.2)
    samples = await Sending(server, target).closed(sessions(3))
    for sample, written in zip(samples, server.turns, strict=True):
        agree(sample, written)
        assert sample.ttft >= 0.08
        assert sample.stall >= 0.2
        assert sample.latency >= 0.36


async def test_tokens_come_from_the_usage_not_from_the_events(server: Fake, target: str) -> None:
    server.tokens_per_event = 5
    (sample,) = await Sending(server, target).closed(sessions(1))
    assert (len(sample.stamps), sample.output_tokens, sample.input_tokens) == (3, 15, 5)


async def test_an_open_loop_sends_at_its_times_though_nothing_is_answered(server: Fake, target: str) -> None:
    """Thirty sessions in 0.3 s, each of which takes longer than that."""
    server.delays = (0.6, 0.0)
    planned = timed(sessions(30), [index * 0.01 for index in range(30)])
    sending = Sending(server, target)
    samples = sorted(await sending.open(planned), key=lambda sample: sample.intended)
    assert [sample.intended - sending.began for sample in samples] == pytest.approx([s.at for s in planned])
    assert all(0 <= sample.late < SLACK for sample in samples)
    assert samples[-1].sent < samples[0].ended


async def test_a_stalled_server_is_charged_for_all_who_wait(server: Fake, target: str) -> None:
    """Coordinated omission: whoever comes during a stall waits for its rest, sent or not."""
    server.delays = (0.0, 0.0)
    server.free.clear()
    sending = Sending(server, target)
    planned = timed(sessions(20), [index * 0.02 for index in range(20)])
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, server.free.set)
    samples = await sending.open(planned)
    released = min(written.came for written in server.turns)
    assert released - sending.began >= 0.5
    assert all(sample.ttft >= released - sample.intended for sample in samples)
    assert max(sample.ttft for sample in samples) >= 0.5
    assert sum(sample.ttft >= 0.1 for sample in samples) == 20


async def test_a_late_send_counts_as_latency_and_is_reported(server: Fake, target: str) -> None:
    """A client that was held up counts from when it meant to send, and says how late it was."""
    sending = Sending(server, target)
    planned = timed(sessions(2), [-0.3, -0.2])
    late = sorted(sample.late for sample in await sending.open(planned))
    assert late[0] >= 0.2
    assert late[1] >= 0.3
    assert all(sample.ttft >= sample.late for sample in sending.driver.samples)


async def test_a_closed_loop_keeps_its_number_and_no_more(server: Fake, target: str) -> None:
    samples = await Sending(server, target).closed(sessions(12), concurrency=4)
    assert len(samples) == 12
    assert peak(samples) == 4
    assert server.connections == 4


async def test_turns_of_a_session_follow_each_other_after_a_pause(server: Fake, target: str) -> None:
    samples = await Sending(server, target, think=0.1).closed(sessions(1, turns=3))
    assert [sample.turn for sample in samples] == [0, 1, 2]
    pauses = [later.intended - earlier.ended for earlier, later in pairwise(samples)]
    assert pauses == pytest.approx([0.1, 0.1])
    assert server.connections == 1
    last = server.turns[-1].body
    if target in {"ws", "sse"}:
        assert last["previous_response_id"] == "r2"
    else:
        said = [message["content"] for message in last.get("input") or last["messages"]]
        assert said == ["0.0", "0 1 2 ", "0.1", "0 1 2 ", "0.2"]


@pytest.mark.parametrize(
    ("fault", "stream", "socket"),
    [
        ("refuse", "http 503", "error overloaded"),
        ("error", "error broken", "error broken"),
        ("cut", "cut", "connection lost"),
        ("nonsense", "bad DecodeError", "bad DecodeError"),
        ("silent", "timeout", "timeout"),
        ("no-usage", "no end", "timeout"),
    ],
)
async def test_errors_have_their_kind(server: Fake, target: str, fault: str, stream: str, socket: str) -> None:
    """A failed turn ends its session, and the next one finds a line that works."""
    server.fault = fault
    expected = socket if target == "ws" else stream
    patience = 0.5 if expected == "timeout" else 60.0
    (sample,) = await Sending(server, target, timeout=patience).closed(sessions(1, turns=2))
    assert (sample.error, sample.output_tokens) == (expected, 0)
    assert sample.intended <= sample.sent <= sample.ended
    server.fault = None
    assert [good.error for good in await Sending(server, target).closed(sessions(1))] == [None]


async def test_a_refused_connection_is_an_error_of_each_session(server: Fake, target: str) -> None:
    sending = Sending(server, target)
    server.port = server.socket_port = 1
    nowhere = Sending(server, target)
    assert [sample.error for sample in await nowhere.closed(sessions(2))] == ["connect ConnectionRefusedError"] * 2
    assert [sample.error for sample in await sending.closed(sessions(1))] == [None]


async def test_nothing_begins_after_the_duration(server: Fake, target: str) -> None:
    sending = Sending(server, target, duration=0.2)
    samples = await sending.closed(sessions(1000), concurrency=2)
    assert 2 <= len(samples) < 1000
    assert all(sample.intended - sending.began < 0.2 for sample in samples)


async def test_a_slow_handshake_counts_as_latency_and_not_as_lateness(server: Fake, target: str) -> None:
    sending = Sending(server, target)
    take = sending.pool.acquire

    async def slowly() -> Channel:
        await asyncio.sleep(1.0)  # the handshake whose time is measured
        return await take()

    sending.pool.acquire = slowly  # type: ignore[method-assign]
    (sample,) = await sending.open(timed(sessions(1), [0.0]))
    assert sample.connecting >= 1.0
    assert sample.late < 1.0
    assert sample.ttft >= 1.0
