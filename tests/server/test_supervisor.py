"""Loops that must never end: started again, counted, and heard of by readiness when they do not come back."""

import ast
import asyncio

import pytest
from structlog.testing import capture_logs

from server.background import RestartPolicy, Supervisor
from tests.test_architecture import modules
from tests.waiting import until

QUICK = RestartPolicy(first_pause=0.001, max_pause=0.01, steady=0.05)

# Who else may start a task, and what ends it: none of these lives as long as the node.
SHORT_LIVED = {
    "server.background": "the owner of all others",
    "server.log.journal": "a write that outlives its caller",
    "server.serve": "the process itself waits for them",
    "server.store.redis.sentinel": "one question to the sentinels",
    "server.web.responses": "one request",
    "server.web.sse": "one request",
    "server.web.websocket": "one socket",
    "engine.vllm.watchdog": "one probe of the engine",
}


async def test_a_loop_that_fails_or_is_killed_is_started_again_and_counted() -> None:
    failed: list[str] = []
    runs = 0

    async def loop() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("a bug")
        await asyncio.Event().wait()

    with capture_logs() as lines:
        task = Supervisor(QUICK, failed.append).start("a", loop)
        await until(lambda: runs == 2, "it runs again")
        (running,) = (each for each in asyncio.all_tasks() if each.get_name() == "a")
        running.cancel()
        await until(lambda: runs == 3, "it runs again after somebody's cancel")
        await task.end()
    assert failed == ["a", "a"]
    assert [line["task"] for line in lines if line["event"] == "task_failed"] == ["a", "a"]


async def test_a_loop_that_does_not_come_back_is_lost_until_it_is_steady() -> None:
    broken = True

    async def loop() -> None:
        if broken:
            raise ValueError("still")
        await asyncio.Event().wait()

    supervisor = Supervisor(QUICK)
    task = supervisor.start("a", loop)
    assert supervisor.lost == []
    await until(lambda: supervisor.lost == ["a"], "it is lost")
    broken = False
    await until(lambda: supervisor.lost == [], "it is back")
    await task.end()


async def test_a_loop_that_has_failed_for_hours_is_started_again() -> None:
    runs = 0

    async def loop() -> None:
        nonlocal runs
        runs += 1
        raise ValueError("still")

    task = Supervisor(QUICK).start("a", loop)
    task.failures = 5000
    before = runs
    await until(lambda: runs >= before + 3, "it runs again")
    await task.end()


async def test_its_owner_ends_it_for_good() -> None:
    runs = 0

    async def loop() -> None:
        nonlocal runs
        runs += 1
        await asyncio.Event().wait()

    supervisor = Supervisor(QUICK)
    task = supervisor.start("a", loop)
    await until(lambda: runs == 1, "it runs")
    await task.end()
    await asyncio.sleep(0.05)
    assert (runs, supervisor.lost) == (1, [])


@pytest.mark.parametrize("name", ["create_task", "ensure_future"])
def test_nobody_else_starts_a_task_that_lives_as_long_as_the_node(name: str) -> None:
    found = {
        module.name
        for module in modules("server", "engine")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == name
    }
    assert found <= SHORT_LIVED.keys()
