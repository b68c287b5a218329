"""Tasks that nobody awaits, kept by an owner who can end them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger(__name__)


class BackgroundTasks:
    """A set of tasks. One that fails with an error that is not in `expected` is logged; none is lost to the collector.

    `expected` are the errors that whoever the task works for has been told of already.
    """

    def __init__(self, *expected: type[Exception]) -> None:
        self._expected = expected
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run this until it ends or `end` is called."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def join(self) -> None:
        """Wait for all that run now."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end(self, patience: float) -> None:
        """Cancel all that run now, and once more after `patience` seconds: a turn that is being stopped takes the first
        cancel for that. Waits for their ends."""
        left = set(self._tasks)
        for timeout in (patience, None):
            for task in left:
                task.cancel()
            if left:
                _, left = await asyncio.wait(left, timeout=timeout)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, self._expected):
            log.error("background_task_failed", task=task.get_name(), exc_info=error)
