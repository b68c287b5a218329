"""One suite for asyncio's queue and event and for the light ones that stand in for them."""

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from server.web.transport.lean_sync import LeanEvent, LeanQueue
from tests.server.peer import PATIENCE

Made = Callable[[], Any]

inboxes = pytest.mark.parametrize("made", [asyncio.Queue, LeanQueue])
flags = pytest.mark.parametrize("made", [asyncio.Event, LeanEvent])


async def begun(work: Any) -> asyncio.Task[Any]:
    """A task that waits."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_both_are_light_until_something_is_in_them() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [(LeanQueue[int](), LeanEvent()) for _ in range(100)]
        assert (tracemalloc.get_traced_memory()[0] - before) / len(kept) < 250
        for inbox, _ in kept:
            inbox.put_nowait(1)
            assert await inbox.get() == 1
        assert (tracemalloc.get_traced_memory()[0] - before) / len(kept) < 250
    finally:
        tracemalloc.stop()


@inboxes
async def test_messages_come_in_order(made: Made) -> None:
    inbox = made()
    assert inbox.empty()
    for number in range(3):
        inbox.put_nowait(number)
    assert not inbox.empty()
    assert [await inbox.get() for _ in range(3)] == [0, 1, 2]
    assert inbox.empty()


@inboxes
async def test_a_reader_waits_for_the_next_message(made: Made) -> None:
    inbox = made()
    for number in range(3):
        reader = await begun(inbox.get())
        inbox.put_nowait(number)
        assert await reader == number


@inboxes
async def test_what_comes_before_the_reader_s_turn_is_kept_behind_the_first(made: Made) -> None:
    inbox = made()
    reader = await begun(inbox.get())
    inbox.put_nowait("a")
    inbox.put_nowait("b")
    assert [await reader, await inbox.get(), inbox.empty()] == ["a", "b", True]


@inboxes
async def test_a_reader_that_is_cancelled_takes_nothing(made: Made) -> None:
    """Also when its message was there already."""
    inbox = made()
    for messages in ([], ["a"]):
        reader = await begun(inbox.get())
        for message in messages:
            inbox.put_nowait(message)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        assert reader.cancelled()
    assert await inbox.get() == "a"
    reader = await begun(inbox.get())
    inbox.put_nowait("b")
    assert await reader == "b"


async def test_a_second_reader_is_refused_and_the_first_goes_on() -> None:
    inbox: LeanQueue[str] = LeanQueue()
    first = await begun(inbox.get())
    with pytest.raises(RuntimeError):
        await inbox.get()
    inbox.put_nowait("a")
    assert await first == "a"


@flags
async def test_nobody_waits_while_a_flag_is_up(made: Made) -> None:
    flag = made()
    assert not flag.is_set()
    flag.set()
    flag.set()
    assert flag.is_set()
    async with asyncio.timeout(PATIENCE):
        await flag.wait()
        await flag.wait()


@flags
async def test_all_that_wait_go_on_even_if_the_flag_is_down_again(made: Made) -> None:
    flag = made()
    waiting = [await begun(flag.wait()) for _ in range(3)]
    flag.set()
    flag.clear()
    late = await begun(flag.wait())
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*waiting)
    assert not late.done()
    flag.set()
    async with asyncio.timeout(PATIENCE):
        await late


@flags
async def test_who_is_cancelled_waits_no_longer_and_the_others_do(made: Made) -> None:
    flag = made()
    gone, stays = [await begun(flag.wait()) for _ in range(2)]
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert (gone.cancelled(), stays.done()) == (True, False)
    flag.set()
    async with asyncio.timeout(PATIENCE):
        await stays


@flags
async def test_who_is_cancelled_in_the_moment_the_flag_goes_up_is_cancelled(made: Made) -> None:
    flag = made()
    waiting = [await begun(flag.wait()) for _ in range(2)]
    waiting[0].cancel()
    flag.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [True, False]
