"""How much is prepared at once, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from server.protocol.errors import WireError
from server.turns.preparation import (
    HISTORY_WEIGHT,
    LARGE_AT_ONCE,
    SMALL_BYTES,
    SMALL_WEIGHT,
    Preparations,
    Room,
)
from tests.waiting import until

LARGE = SMALL_BYTES + 1
LIMIT = 1 << 30


@asynccontextmanager
async def entering(room: Room, caller: str, *weights: int) -> AsyncIterator[list[str]]:
    """Tasks that enter in this order and stay; yields who is inside, in the order of their coming."""
    inside: list[str] = []

    async def enter(weight: int) -> None:
        await room.enter(caller, weight, None)
        inside.append(f"{caller} {weight}")

    tasks = [asyncio.create_task(enter(weight)) for weight in weights]
    await settled()
    yield inside
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class TestRoom:
    """Bytes, heads, and a line."""

    async def test_as_much_as_fits_is_let_in(self) -> None:
        room = Room(100)
        async with entering(room, "alice", 60, 40, 1) as inside:
            assert inside == ["alice 60", "alice 40"]
            assert (room.held, room.inside, room.waiting) == (100, 2, 1)
            room.leave(40)
            await settled()
            assert inside[2:] == ["alice 1"]

    async def test_no_more_at_once_than_allowed(self) -> None:
        room = Room(100, at_once=2)
        async with entering(room, "alice", 1, 2, 3) as inside:
            assert len(inside) == 2
            room.leave(1)
            await settled()
            assert len(inside) == 3

    async def test_what_is_larger_than_the_room_has_it_alone(self) -> None:
        room = Room(100)
        async with entering(room, "alice", 200, 1) as inside:
            assert inside == ["alice 200"]
            room.leave(200)
            await settled()
            assert inside == ["alice 200", "alice 1"]

    async def test_who_comes_later_does_not_overtake(self) -> None:
        room = Room(100)
        async with entering(room, "alice", 60, 60, 10) as inside:
            assert inside == ["alice 60"]

    async def test_callers_take_turns(self) -> None:
        room = Room(100, at_once=1)
        async with entering(room, "alice", 1, 2, 3, 4), entering(room, "bob", 1) as bobs:
            room.leave(1)  # alice's first
            await settled()
            assert not bobs  # alice's second was the first in line
            room.leave(2)
            await settled()
            assert bobs == ["bob 1"]

    async def test_waiting_ends(self) -> None:
        room = Room(100)
        await room.enter("alice", 100, None)
        with pytest.raises(WireError, match="server_overloaded") as refused:
            await room.enter("bob", 1, 0.01)
        assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "1"})
        room.leave(100)
        assert room.is_empty

    @pytest.mark.parametrize("given_room", [False, True])
    async def test_cancelled_while_waiting_it_takes_nothing(self, given_room: bool) -> None:
        """Also when it was let in, and had not run yet."""
        room = Room(100)
        await room.enter("alice", 100, None)
        waiting = asyncio.create_task(room.enter("bob", 10, None))
        await settled()
        if given_room:
            room.leave(100)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        if not given_room:
            room.leave(100)
        assert room.is_empty
        assert room.held == 0

    async def test_many_that_give_up_together_keep_nobody_out(self) -> None:
        room = Room(100)
        await room.enter("alice", 100, None)
        tasks = [asyncio.create_task(room.enter(name, 90, None)) for name in ("alice", "bob", "alice", "bob")]
        await settled()
        last = asyncio.create_task(room.enter("bob", 5, None))
        await settled()
        for task in tasks:
            task.cancel()
        room.leave(95)
        await asyncio.gather(*tasks, return_exceptions=True)
        await last
        assert (room.inside, room.waiting) == (1, 0)


class TestPreparations:
    """Small and large requests of a node."""

    async def test_large_ones_are_few_at_once(self) -> None:
        preparations = Preparations(LIMIT)
        async with preparing(preparations, *[LARGE] * 5) as (ready, finish):
            assert len(ready) == LARGE_AT_ONCE
            finish()
            await until(lambda: len(ready) == 5, "all had their turn")

    async def test_small_ones_do_not_wait_for_large_ones(self) -> None:
        preparations = Preparations(LIMIT)
        async with preparing(preparations, *[LARGE] * 5), preparing(preparations, *[SMALL_BYTES] * 9) as (ready, _):
            assert len(ready) == 9

    async def test_histories_of_small_ones_are_bounded_together(self) -> None:
        preparations = Preparations(8 * HISTORY_WEIGHT * SMALL_BYTES * 3)
        async with preparing(preparations, *[SMALL_BYTES] * 9) as (ready, finish):
            assert len(ready) == 3
            finish()
            await until(lambda: len(ready) == 9, "all had their turn")

    async def test_room_that_a_history_does_not_need_is_given_back(self) -> None:
        preparations = Preparations(LIMIT)
        async with preparations.begin("alice") as preparation:
            await preparation.enter(SMALL_BYTES)
            await preparation.enter(10)
            assert preparations.small.held == 10 * HISTORY_WEIGHT
            await preparation.enter(LARGE)
            assert preparations.small.is_empty
            assert preparations.large.held == LARGE * HISTORY_WEIGHT
        assert preparations.large.is_empty

    @pytest.mark.parametrize(("size", "weight"), [(LARGE, 0), (0, SMALL_WEIGHT + 1), (LARGE, SMALL_WEIGHT + 1)])
    async def test_a_large_request_is_large_without_a_history(self, size: int, weight: int) -> None:
        preparations = Preparations(LIMIT)
        async with preparations.begin("alice", size, weight) as preparation:
            await preparation.enter(0)
            assert preparations.large.inside == 1

    async def test_requests_that_bring_too_much_are_refused(self) -> None:
        preparations = Preparations(100 * SMALL_WEIGHT)
        large = 10 * SMALL_WEIGHT
        async with preparations.begin("alice", LARGE, large):
            with pytest.raises(WireError, match="rate_limit_exceeded"):
                async with preparations.begin("alice", LARGE, large):
                    pass
            async with preparations.begin("alice", 100, 1000), preparations.begin("bob", LARGE, large):
                pass
        assert preparations.large_bodies.held == preparations.small_bodies.held == 0

    async def test_one_that_brings_more_than_there_is_room_for_is_let_in_alone(self) -> None:
        preparations = Preparations(SMALL_WEIGHT)
        async with preparations.begin("alice", LARGE, LIMIT) as preparation:
            await preparation.enter(LIMIT)
        assert preparations.large_bodies.held == 0

    async def test_one_at_a_time_is_admitted_to_a_conversation(self) -> None:
        preparations = Preparations(LIMIT, patience=0.01)
        async with preparations.alone("alice", "conv_1"):
            with pytest.raises(WireError, match="server_overloaded"):
                async with preparations.alone("alice", "conv_1"):
                    pass
            async with preparations.alone("bob", "conv_1"), preparations.alone("alice", "conv_2"):
                pass
            async with preparations.alone("alice", None), preparations.alone("alice", None):
                pass
        async with preparations.alone("alice", "conv_1"):
            pass
        assert not preparations._conversations

    async def test_what_was_admitted_before_waits_for_as_long_as_it_takes(self) -> None:
        preparations = Preparations(LIMIT, patience=0.0)
        async with (
            preparing(preparations, *[LARGE] * LARGE_AT_ONCE) as (_, finish),
            preparations.resume("bob") as preparation,
        ):
            asyncio.get_running_loop().call_later(0.02, finish)
            await preparation.enter(LARGE)


@asynccontextmanager
async def preparing(preparations: Preparations, *histories: int) -> AsyncIterator[tuple[list[int], Callable[[], None]]]:
    """Requests that go on from so many bytes. Yields those that have room, and what makes them all end."""
    ready: list[int] = []
    over = asyncio.Event()

    async def prepare(history: int) -> None:
        async with preparations.begin("alice") as preparation:
            await preparation.enter(history)
            ready.append(history)
            await over.wait()

    tasks = [asyncio.create_task(prepare(history)) for history in histories]
    await settled()
    yield ready, over.set
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
