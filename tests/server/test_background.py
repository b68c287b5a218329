"""Tasks that nobody awaits: kept, ended, and heard of when they fail."""

import asyncio

import pytest
from structlog.testing import capture_logs

from server.background import BackgroundTasks
from tests.server.peer import PATIENCE


async def test_a_task_is_kept_until_it_ends() -> None:
    tasks = BackgroundTasks()
    go = asyncio.Event()
    task = tasks.spawn(go.wait())
    assert len(tasks) == 1
    go.set()
    await tasks.join()
    assert (len(tasks), task.result()) == (0, True)


async def test_a_failure_is_logged_unless_it_is_expected() -> None:
    async def fail(error: Exception) -> None:
        raise error

    tasks = BackgroundTasks(LookupError)
    with capture_logs() as lines:
        tasks.spawn(fail(KeyError("told already")))
        tasks.spawn(fail(ValueError("a bug")))
        await tasks.join()
        await asyncio.sleep(0)
    assert [line["event"] for line in lines] == ["background_task_failed"]
    assert isinstance(lines[0]["exc_info"], ValueError)


async def test_the_end_cancels_a_task_once_more_that_took_its_first_cancel_for_something_else() -> None:
    cancels = 0

    async def stubborn() -> None:
        nonlocal cancels
        while cancels < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels += 1

    tasks = BackgroundTasks()
    tasks.spawn(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.end(0.01), PATIENCE)
    assert (cancels, len(tasks)) == (2, 0)


async def test_an_end_without_tasks_is_quick() -> None:
    await asyncio.wait_for(BackgroundTasks().end(10 * PATIENCE), PATIENCE)


async def test_what_a_task_returns_can_be_awaited_behind_a_shield() -> None:
    async def answer() -> int:
        return 42

    assert await asyncio.shield(BackgroundTasks().spawn(answer())) == 42


@pytest.mark.parametrize("count", [1, 50])
async def test_all_tasks_are_ended_together(count: int) -> None:
    tasks = BackgroundTasks()
    for _ in range(count):
        tasks.spawn(asyncio.Event().wait())
    await tasks.end(5.0)
    assert len(tasks) == 0
