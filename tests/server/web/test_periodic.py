"""One timer for many: who is looked at, and when it ends."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from server.web import periodic as rounds
from server.web.periodic import PeriodicChecker
from tests.server.peer import PATIENCE
from tests.waiting import until


class Watched:
    """Counts the looks; may do something at each."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.looks: list[float] = []
        self.then = then

    def on_tick(self, now: float) -> None:
        self.looks.append(now)
        self.then()


async def test_everybody_is_looked_at_again_and_again() -> None:
    going, members = PeriodicChecker[Watched](lambda: 0.01), [Watched() for _ in range(3)]
    for member in members:
        going.add(member)
    await until(lambda: all(len(member.looks) > 2 for member in members), "three rounds")
    assert all(member.looks == sorted(set(member.looks)) for member in members)
    for member in members:
        going.discard(member)


async def test_who_left_is_not_looked_at_even_in_the_same_round() -> None:
    going = PeriodicChecker[Watched](lambda: 0.01)
    both = [Watched(), Watched()]
    for member, other in (both, reversed(both)):
        member.then = partial(going.discard, other)
        going.add(member)
    await until(lambda: any(len(member.looks) > 2 for member in both), "three rounds")
    assert sorted(len(member.looks) > 0 for member in both) == [False, True]
    for member in both:
        going.discard(member)


async def test_the_last_one_ends_it_and_the_next_begins_it_again() -> None:
    before = asyncio.all_tasks()
    going, member = PeriodicChecker[Watched](lambda: 0.01), Watched()
    going.discard(member)
    for _ in range(2):
        member.looks.clear()
        going.add(member)
        going.add(member)
        assert len(asyncio.all_tasks() - before) == 1
        await until(lambda: bool(member.looks), "it was looked at")
        going.discard(member)
        await until(lambda: asyncio.all_tasks() == before, "nothing goes round")


async def test_the_last_one_may_leave_in_the_middle_of_its_look() -> None:
    before = asyncio.all_tasks()
    going = PeriodicChecker[Watched](lambda: 0.01)
    member = Watched()
    member.then = partial(going.discard, member)
    going.add(member)
    await until(lambda: asyncio.all_tasks() == before, "nothing goes round")
    assert len(member.looks) == 1


async def test_one_that_fails_is_told_of_and_costs_the_others_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    going, good, bad = PeriodicChecker[Watched](lambda: 0.01), Watched(), Watched(lambda: 1 / 0)
    going.add(bad)
    going.add(good)
    await until(lambda: len(good.looks) > 2 and len(bad.looks) > 2, "three rounds")
    going.discard(good)
    going.discard(bad)
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_others_get_a_turn_in_a_long_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "AT_ONCE", 10)
    going, members = PeriodicChecker[Watched](lambda: 0.05), [Watched() for _ in range(100)]
    for member in members:
        going.add(member)
    seen: set[int] = set()
    async with asyncio.timeout(PATIENCE):
        while 100 not in seen:
            seen.add(sum(len(member.looks) for member in members))
            await asyncio.sleep(0)
    assert seen >= set(range(10, 101, 10))
    for member in members:
        going.discard(member)
