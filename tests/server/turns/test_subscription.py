"""What a subscription takes of a log at once, and what all subscriptions of a turn share."""

import orjson
import pytest

from engine.base import Params, Prompt
from engine.scripted import ScriptedEngine
from server.log.subscriber import LogSubscriber, gapless
from server.protocol.entry import Entry, Event, Kind, Open, encode
from server.protocol.events import EventRenderer
from server.store.memory.store import MemoryStore
from server.store.types import LogEntry, TurnRef
from server.turns.presence import Presence
from server.turns.spec import TurnSpec
from server.turns.subscription import SHARED_BYTES, RenderedTurn, TurnSubscription, portions
from tests.server.conftest import Nodes
from tests.server.peer import socket


def log(*tops: int, after: int = -1) -> list[LogEntry]:
    """Entries that end at these numbers."""
    return [LogEntry(top, b"", before) for before, top in zip((after, *tops), tops, strict=False)]


@pytest.mark.parametrize(
    ("tops", "together"),
    [
        ([], []),
        ([0], [[0]]),
        ([0, 1, 2, 3], [[0, 1, 2], [3]]),
        ([1, 3, 5], [[1], [3], [5]]),
        ([9], [[9]]),
        ([0, 9, 10, 11], [[0], [9], [10, 11]]),
    ],
)
def test_no_more_than_three_events_come_together_unless_one_entry_has_them(
    tops: list[int], together: list[list[int]]
) -> None:
    assert [[logged.last_seq for logged in part] for part in portions(log(*tops), 3)] == together


def test_numbers_after_a_hole_come_apart() -> None:
    entries = [*log(1, 3), *log(1004, 1005, after=1003)]
    assert gapless(entries) == entries[:2]
    assert gapless(entries[2:]) == entries[2:]
    assert gapless([]) == []


RESPONSE = {"id": "resp_1", "store": True}


SPEC = TurnSpec(RESPONSE, Prompt((1,)), Params(), "v1")


class Taking:
    """A sink that takes frames into a list, or declines where it has none."""

    def __init__(self, taken: list[bytes] | None) -> None:
        self.taken = taken

    def try_push(self, frames: list[bytes], /) -> bool:
        if self.taken is None:
            return False
        self.taken += frames
        return True


def token(seq: int, text: str = "word") -> LogEntry:
    return LogEntry(seq, encode(Open("msg_1", 0, "message"), [Event(Kind.TEXT, text)]), seq - 1)


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the entries that were rendered, in order."""
    seen: list[int] = []
    render = EventRenderer.frames

    def counted(renderer: EventRenderer, entry: Entry, last_seq: int) -> list[bytes]:
        seen.append(last_seq)
        return render(renderer, entry, last_seq)

    monkeypatch.setattr(EventRenderer, "frames", counted)
    return seen


class TestRenderedTurn:
    """The JSON of an entry is made once for all who follow the turn on this node."""

    def test_those_at_the_end_share_each_entry(self, renderings: list[int]) -> None:
        turn = RenderedTurn(RESPONSE)
        for seq in range(2, 50):
            first, second = turn.entry(token(seq)), turn.entry(token(seq))
            assert first is second
        assert renderings == list(range(2, 50))

    def test_those_who_come_later_share_too(self, renderings: list[int]) -> None:
        turn = RenderedTurn(RESPONSE)
        for _ in range(3):
            for seq in range(2, 50):
                turn.entry(token(seq))
        assert renderings == list(range(2, 50))

    def test_what_is_kept_is_bounded_in_bytes(self, renderings: list[int]) -> None:
        turn = RenderedTurn(RESPONSE)
        long = "x" * 1000
        count = 3 * SHARED_BYTES // 1000
        for seq in range(count):
            turn.entry(token(seq, long))
        assert SHARED_BYTES / 2 < turn.kept_bytes <= SHARED_BYTES
        turn.entry(token(count - 1, long))
        turn.entry(token(0, long))
        assert renderings == [*range(count), 0]

    def test_an_entry_that_is_larger_than_the_bound_is_kept_alone(self, renderings: list[int]) -> None:
        turn = RenderedTurn(RESPONSE)
        for seq in (2, 3, 3):
            turn.entry(token(seq, "x" * SHARED_BYTES))
        assert renderings == [2, 3]

    def test_another_entry_under_the_same_number_is_rendered_anew(self) -> None:
        """Where a store lost what it had, a number may come with other text."""
        turn = RenderedTurn(RESPONSE)
        before, after = turn.entry(token(2, "lost")), turn.entry(token(2, "new"))
        assert b"lost" in before.frames[0]
        assert b"new" in after.frames[0]
        assert turn.kept_bytes == after.size


async def test_a_position_in_the_middle_of_an_entry_gets_the_rest_of_it() -> None:
    entry = LogEntry(5, encode(Open("msg_1", 0, "message"), [Event(Kind.TEXT, text) for text in "abcd"]), 1)
    for after in range(1, 6):
        subscription = TurnSubscription(
            LogSubscriber(MemoryStore()),
            Presence(30.0, lambda _: None),
            RenderedTurn(RESPONSE),
            TurnRef("alice", "resp_1"),
            SPEC,
            after,
        )
        taken: list[bytes] = []
        subscription.sink = Taking(taken)
        assert subscription.try_push([entry])
        assert [orjson.loads(frame)["sequence_number"] for frame in taken] == list(range(after + 1, 6))
        assert subscription.last_seq == 5


async def test_a_push_that_the_sink_declines_leaves_the_position() -> None:
    subscription = TurnSubscription(
        LogSubscriber(MemoryStore()),
        Presence(30.0, lambda _: None),
        RenderedTurn(RESPONSE),
        TurnRef("alice", "resp_1"),
        SPEC,
        1,
    )
    subscription.sink = Taking(None)
    assert not subscription.try_push([token(2)])
    assert subscription.last_seq == 1


async def test_two_tabs_cost_one_rendering(nodes: Nodes, renderings: list[int]) -> None:
    """Both see every event, and each entry is rendered once on this node."""
    async with nodes(ScriptedEngine(rate=60)) as served, socket(served) as one, socket(served) as other:
        await one.ask("[tokens=120]")
        id = (await one.until("response.in_progress"))[0]["response"]["id"]
        await other.send("throughline:resume", response_id=id)
        await other.until("throughline:resumed")
        first, second = await one.turn(), await other.turn()
    assert (first[-1]["type"], second[-1]) == ("response.completed", first[-1])
    assert len(renderings) > 10
    assert renderings == sorted(set(renderings))
