"""Client processes: each sends its share of one plan, all start together, and the parent collects their samples."""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

import msgspec
import uvloop

from bench.load.connect import opener
from bench.load.driver import Driver, SendRules
from bench.load.options import Options
from bench.load.plan import Session, share
from bench.load.pool import Pool
from bench.load.sample import Sample
from bench.load.target import TARGETS, RequestDefaults
from bench.processes import ResourceUsage, usage

READY = 300.0  # seconds for every process to be warm
REPORT = 0.25  # seconds between two reports


class LoadError(Exception):
    """A run that could not be made."""


class WorkerJob(msgspec.Struct, frozen=True):
    """The share of the plan that one client process sends."""

    options: Options
    sessions: list[Session]
    warm: list[Session]
    concurrency: int


class Progress(msgspec.Struct, frozen=True):
    """Turns and tokens so far, of one client process or of all."""

    done: int
    failed: int
    tokens: int
    finished: bool = False


class WorkerResult(msgspec.Struct, frozen=True):
    """The samples of one client process."""

    began: float
    cpu: float  # seconds of the client's own, in the measurement
    samples: list[Sample]


class Run(msgspec.Struct, frozen=True):
    """The samples of all client processes, and the CPU and memory of the server around them."""

    began: float  # seconds of the clock
    samples: list[Sample]
    client_cpu: float  # seconds
    before: ResourceUsage | None = None  # the server's costs at the beginning
    after: ResourceUsage | None = None


OnProgress = Callable[[Progress], None]


def jobs(options: Options, sessions: Sequence[Session], warm: Sequence[Session]) -> list[WorkerJob]:
    """Divide the plan among the client processes."""
    parts = min(options.processes, options.concurrency) if not options.open_loop else options.processes
    return [
        WorkerJob(
            options, share(sessions, part, parts), share(warm, part, parts), _portion(options.concurrency, part, parts)
        )
        for part in range(parts)
    ]


def _portion(whole: int, part: int, parts: int) -> int:
    return whole // parts + (part < whole % parts)


def run(jobs: Sequence[WorkerJob], show: OnProgress) -> Run:
    """Start a process for each and wait for all. Raises LoadError."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(jobs) + 1)
    pipes, processes = [], []
    for job in jobs:
        here, there = context.Pipe(duplex=False)
        processes.append(context.Process(target=work, args=(job, barrier, there), daemon=True))
        processes[-1].start()
        there.close()
        pipes.append(here)
    try:
        return _gather(jobs[0].options, barrier, pipes, show)
    finally:
        _end(processes)


def _gather(options: Options, barrier: Barrier, pipes: list[Connection], show: OnProgress) -> Run:
    try:
        barrier.wait(READY)
    except threading.BrokenBarrierError:
        raise LoadError(_first_error(pipes)) from None
    before = _usage(options)
    after: ResourceUsage | None = None
    parts: list[WorkerResult] = []
    now: dict[Connection, Progress] = {}
    while len(parts) < len(pipes):
        for pipe in wait([pipe for pipe in pipes if not pipe.closed]):
            assert isinstance(pipe, Connection)
            message = _receive(pipe)
            if isinstance(message, WorkerResult):
                parts.append(message)
                pipe.close()
                continue
            now[pipe] = message
            show(_sum(now.values()))
            if after is None and len(now) == len(pipes) and all(each.finished for each in now.values()):
                after = _usage(options)
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample.intended)
    return Run(min(part.began for part in parts), samples, sum(part.cpu for part in parts), before, after)


def _receive(pipe: Connection) -> Progress | WorkerResult:
    try:
        message = pipe.recv()
    except EOFError:
        raise LoadError("a client process ended early") from None
    if isinstance(message, str):
        raise LoadError(message)
    assert isinstance(message, Progress | WorkerResult)
    return message


def _sum(parts: Iterable[Progress]) -> Progress:
    every = list(parts)
    return Progress(sum(p.done for p in every), sum(p.failed for p in every), sum(p.tokens for p in every))


def _first_error(pipes: list[Connection]) -> str:
    for pipe in wait(pipes, 1.0):
        assert isinstance(pipe, Connection)
        try:
            return str(pipe.recv())
        except EOFError:
            continue
    return f"the client processes were not ready within {READY:.0f} s"


def _usage(options: Options) -> ResourceUsage | None:
    return usage(options.pids, options.engine_name, options.engine_pids) if options.pids else None


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.join(2.0)
        if process.is_alive():
            process.terminate()
            process.join()


# -- in a client process ---------------------------------------------------------------------------------------------


def work(job: WorkerJob, barrier: Barrier, pipe: Connection) -> None:
    """The body of a client process. Sends a WorkerResult through the pipe, or the text of the error that ended it."""
    try:
        uvloop.run(measure(job, barrier, pipe))
    except Exception as error:  # whatever it is, nobody may wait for this process
        barrier.abort()
        pipe.send(str(error) or type(error).__name__)


async def measure(job: WorkerJob, barrier: Barrier, pipe: Connection) -> None:
    """Warm up, wait for the others, send. Raises LoadError, OSError, TurnFailed."""
    options = job.options
    pool = Pool(opener(options))
    rules = _send_rules(options)
    try:
        await _warm_up(job, pool, rules)
        await _fill(job, pool)
        await asyncio.to_thread(barrier.wait, READY)
        driver = Driver(pool, rules)
        reporting = asyncio.create_task(_report_progress(driver, pipe))
        began, cpu = time.perf_counter(), time.process_time()
        await _send(job, driver, began)
        used = time.process_time() - cpu
        reporting.cancel()
        pipe.send(_progress(driver, finished=True))
        pipe.send(WorkerResult(began, used, driver.samples))
    finally:
        pool.close()


async def _fill(job: WorkerJob, pool: Pool) -> None:
    wanted = -(-job.options.connections // job.options.processes)
    try:
        await pool.fill(wanted if job.options.open_loop else max(wanted, job.concurrency))
    except OSError as error:
        raise LoadError(f"{job.options.url} cannot be reached: {error}") from error


def _send_rules(options: Options) -> SendRules:
    defaults = RequestDefaults(options.model, options.temperature, options.force)
    return SendRules(TARGETS[options.target], defaults, options.think, options.timeout, options.duration)


async def _warm_up(job: WorkerJob, pool: Pool, rules: SendRules) -> None:
    driver = Driver(pool, msgspec.structs.replace(rules, think=0.0, duration=0.0))
    await driver.closed_loop(job.warm, time.perf_counter(), max(1, min(job.concurrency, len(job.warm))))
    errors = [sample.error for sample in driver.samples if sample.error is not None]
    if errors:
        raise LoadError(f"the warm-up failed: {errors[0]}")


async def _send(job: WorkerJob, driver: Driver, began: float) -> None:
    if job.options.open_loop:
        await driver.open_loop(job.sessions, began)
    else:
        await driver.closed_loop(job.sessions, began, job.concurrency)


async def _report_progress(driver: Driver, pipe: Connection) -> None:
    while True:
        await asyncio.sleep(REPORT)
        pipe.send(_progress(driver, finished=False))


def _progress(driver: Driver, *, finished: bool) -> Progress:
    failed = sum(sample.error is not None for sample in driver.samples)
    tokens = sum(sample.output_tokens for sample in driver.samples)
    return Progress(len(driver.samples) - failed, failed, tokens, finished)
