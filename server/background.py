"""Tasks that nobody awaits, kept by an owner who can end them: work that ends, and loops that must never end.

Nothing else in the server or the engine starts a task that lives as long as the node: what dies here is heard of.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
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


class RestartPolicy(msgspec.Struct, frozen=True):
    """How a supervised task that failed is started again, and when it counts as lost."""

    first_pause: float = 0.05  # seconds before it is started again; doubled with each failure in a row, up to
    max_pause: float = 5.0
    tolerated: int = 2  # failures in a row; with one more the task is lost, until a run of it
    steady: float = 5.0  # has lasted so many seconds


class SupervisedTask:
    """One loop that is started again, with a growing pause, whenever it ends by an error or by somebody's cancel.

    A loop that returns has done its work and is not started again. Nothing watches this but callbacks, so there is no
    second task that could be killed in its stead.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        policy: RestartPolicy,
        on_failure: Callable[[str], None],
        on_end: Callable[["SupervisedTask"], None],
    ) -> None:
        self.name = name
        self.failures = 0  # in a row: since a run last was steady
        self._work = work
        self._policy = policy
        self._on_failure = on_failure
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None  # the latest run
        self._timer: asyncio.TimerHandle | None = None  # until the next run begins, or this one is steady
        self._ended = False  # it returned, or its owner ended it
        self._start()

    @property
    def is_lost(self) -> bool:
        """Whether it failed so often in a row that it must be taken for broken."""
        return self.failures > self._policy.tolerated

    def cancel(self) -> None:
        """End it for good, without waiting for its end."""
        self._set_ended()
        if self._task is not None:
            self._task.cancel()

    async def end(self) -> None:
        """End it for good, and wait for that. Raises nothing that it raises."""
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._work(), name=self.name)
        self._task.add_done_callback(self._on_done)
        self._timer = loop.call_later(self._policy.steady, self._forgive) if self.failures else None

    def _forgive(self) -> None:
        if self.is_lost:
            log.info("task_recovered", task=self.name)
        self.failures = 0

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self._ended:
            return
        if error is None:
            self._set_ended()
            return
        if self._timer is not None:
            self._timer.cancel()
        doubled = self._policy.first_pause * 2 ** min(self.failures, 16)  # after 1,024 no float would hold it
        pause = min(doubled, self._policy.max_pause)
        self.failures += 1
        self._on_failure(self.name)
        log.error("task_failed", task=self.name, failures=self.failures, again_in_s=pause, exc_info=error)
        self._timer = task.get_loop().call_later(pause, self._start)

    def _set_ended(self) -> None:
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._on_end(self)


class Supervisor:
    """Keeps the loops of one node running. `on_failure` is called with a loop's name each time that one fails."""

    def __init__(
        self, policy: RestartPolicy | None = None, on_failure: Callable[[str], None] = lambda name: None
    ) -> None:
        self._policy = policy or RestartPolicy()
        self._on_failure = on_failure
        self._tasks: set[SupervisedTask] = set()

    @property
    def lost(self) -> list[str]:
        """Names of the loops that failed again and again and have not come back: the node is not fit for use."""
        return sorted({task.name for task in self._tasks if task.is_lost})

    def start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> SupervisedTask:
        """Run this loop until it returns or its owner ends it. `work` makes the coroutine of each run.

        A run may begin where the one before it was cut at any of its awaits, so what a loop must not lose is kept
        outside of it.
        """
        task = SupervisedTask(name, work, self._policy, self._on_failure, self._tasks.discard)
        self._tasks.add(task)
        return task
