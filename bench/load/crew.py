"""Client processes: each sends its share of one plan, all begin together, the parent gathers what they saw."""

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
from bench.load.drive import Drive, Manner
from bench.load.options import Options
from bench.load.plan import Session, share
from bench.load.pool import Pool
from bench.load.sample import Sample
from bench.load.target import TARGETS, Asking
from bench.processes import Split, look

READY = 300.0  # seconds for every process to be warm
REPORT = 0.25  # seconds between two reports


class LoadError(Exception):
    """A run that could not be made."""


class Job(msgspec.Struct, frozen=True):
    """One process' share."""

    options: Options
    sessions: list[Session]
    warm: list[Session]
    concurrency: int


class Progress(msgspec.Struct, frozen=True):
    """How far it is."""

    done: int
    failed: int
    tokens: int
    finished: bool = False


class Part(msgspec.Struct, frozen=True):
    """What one process saw."""

    began: float
    cpu: float  # seconds of the client's own, in the measurement
    samples: list[Sample]


class Run(msgspec.Struct, frozen=True):
    """What all saw."""

    began: float  # seconds of the clock
    samples: list[Sample]
    client_cpu: float  # seconds
    before: Split | None = None  # the server's costs at the beginning
    after: Split | None = None


Show = Callable[[Progress], None]


def jobs(options: Options, sessions: Sequence[Session], warm: Sequence[Session]) -> list[Job]:
    """Divide the plan."""
    parts = min(options.processes, options.concurrency) if not options.open_loop else options.processes
    return [
        Job(options, share(sessions, part, parts), share(warm, part, parts), _portion(options.concurrency, part, parts))
        for part in range(parts)
    ]


def _portion(whole: int, part: int, parts: int) -> int:
    return whole // parts + (part < whole % parts)


def run(jobs: Sequence[Job], show: Show) -> Run:
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


def _gather(options: Options, barrier: Barrier, pipes: list[Connection], show: Show) -> Run:
    try:
        barrier.wait(READY)
    except threading.BrokenBarrierError:
        raise LoadError(_complaint(pipes)) from None
    before = _look(options)
    after: Split | None = None
    parts: list[Part] = []
    now: dict[Connection, Progress] = {}
    while len(parts) < len(pipes):
        for pipe in wait([pipe for pipe in pipes if not pipe.closed]):
            assert isinstance(pipe, Connection)
            message = _receive(pipe)
            if isinstance(message, Part):
                parts.append(message)
                pipe.close()
                continue
            now[pipe] = message
            show(_sum(now.values()))
            if after is None and len(now) == len(pipes) and all(each.finished for each in now.values()):
                after = _look(options)
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample.intended)
    return Run(min(part.began for part in parts), samples, sum(part.cpu for part in parts), before, after)


def _receive(pipe: Connection) -> Progress | Part:
    try:
        message = pipe.recv()
    except EOFError:
        raise LoadError("a client process ended early") from None
    if isinstance(message, str):
        raise LoadError(message)
    assert isinstance(message, Progress | Part)
    return message


def _sum(parts: Iterable[Progress]) -> Progress:
    every = list(parts)
    return Progress(sum(p.done for p in every), sum(p.failed for p in every), sum(p.tokens for p in every))


def _complaint(pipes: list[Connection]) -> str:
    for pipe in wait(pipes, 1.0):
        assert isinstance(pipe, Connection)
        try:
            return str(pipe.recv())
        except EOFError:
            continue
    return f"the client processes were not ready within {READY:.0f} s"


def _look(options: Options) -> Split | None:
    return look(options.pids, options.engine_name, options.engine_pids) if options.pids else None


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.join(2.0)
        if process.is_alive():
            process.terminate()
            process.join()


# -- in a client process ---------------------------------------------------------------------------------------------


def work(job: Job, barrier: Barrier, pipe: Connection) -> None:
    """Send a share; what it saw goes through the pipe, a sentence where that was not possible."""
    try:
        uvloop.run(measure(job, barrier, pipe))
    except Exception as error:  # whatever it is, nobody may wait for this process
        barrier.abort()
        pipe.send(str(error) or type(error).__name__)


async def measure(job: Job, barrier: Barrier, pipe: Connection) -> None:
    """Warm up, wait for the others, send. Raises LoadError, OSError, Failed."""
    options = job.options
    pool = Pool(opener(options))
    manner = _manner(options)
    try:
        await _warm_up(job, pool, manner)
        await _fill(job, pool)
        await asyncio.to_thread(barrier.wait, READY)
        drive = Drive(pool, manner)
        telling = asyncio.create_task(_tell(drive, pipe))
        began, cpu = time.perf_counter(), time.process_time()
        await _send(job, drive, began)
        used = time.process_time() - cpu
        telling.cancel()
        pipe.send(_progress(drive, finished=True))
        pipe.send(Part(began, used, drive.samples))
    finally:
        pool.close()


async def _fill(job: Job, pool: Pool) -> None:
    wanted = -(-job.options.connections // job.options.processes)
    try:
        await pool.fill(wanted if job.options.open_loop else max(wanted, job.concurrency))
    except OSError as error:
        raise LoadError(f"{job.options.url} cannot be reached: {error}") from error


def _manner(options: Options) -> Manner:
    asking = Asking(options.model, options.temperature, options.force)
    return Manner(TARGETS[options.target], asking, options.think, options.timeout, options.duration)


async def _warm_up(job: Job, pool: Pool, manner: Manner) -> None:
    drive = Drive(pool, msgspec.structs.replace(manner, think=0.0, duration=0.0))
    await drive.closed_loop(job.warm, time.perf_counter(), max(1, min(job.concurrency, len(job.warm))))
    errors = [sample.error for sample in drive.samples if sample.error is not None]
    if errors:
        raise LoadError(f"the warm-up failed: {errors[0]}")


async def _send(job: Job, drive: Drive, began: float) -> None:
    if job.options.open_loop:
        await drive.open_loop(job.sessions, began)
    else:
        await drive.closed_loop(job.sessions, began, job.concurrency)


async def _tell(drive: Drive, pipe: Connection) -> None:
    while True:
        await asyncio.sleep(REPORT)
        pipe.send(_progress(drive, finished=False))


def _progress(drive: Drive, *, finished: bool) -> Progress:
    failed = sum(sample.error is not None for sample in drive.samples)
    tokens = sum(sample.output_tokens for sample in drive.samples)
    return Progress(len(drive.samples) - failed, failed, tokens, finished)
