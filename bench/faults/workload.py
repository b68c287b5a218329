"""Clients that ask one question after another while faults are injected, and the verdict on what they received."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import perf_counter

import msgspec

from bench.faults import http
from bench.faults.client import Client, Question, WireFactory
from bench.faults.cluster import HOST, Cluster
from bench.faults.ledger import Ledger, Reference, judge, said, silence
from bench.faults.process import POLL
from bench.faults.table import Row
from bench.wire import Wire

TURN = 90.0  # seconds that a turn may take, its faults included
STORED = 30.0  # seconds within which a finished response must be found
FELT = 0.25  # seconds of silence from which on a turn felt a fault
FURTHER = "And then? [tokens=30]"
CHAINED = 0.4  # share of answers after which a client asks further
FRESH = 0.5  # share of questions that are asked on a new socket, so that the nodes share them anew
AT_ONCE = 16  # requests
WORRYING = ("Traceback", "never awaited", "never retrieved")  # in lines that are no log entries
SHOWN = 10  # sentences about what went wrong

References = Mapping[str, Reference]


class Fault(msgspec.Struct):
    """Something was broken, and whole again `until` then; seconds of perf_counter."""

    begin: float
    until: float


async def eventually(condition: Callable[[], bool], seconds: float) -> None:
    """Return once the condition holds. Raises TimeoutError."""
    for _ in range(round(seconds / POLL)):
        if condition():
            return
        await asyncio.sleep(POLL)
    raise TimeoutError


class QuestionSet(msgspec.Struct, frozen=True):
    """What clients ask, and the right answers where they are known: a real model's may differ in a batch."""

    questions: Sequence[Question]
    known: References

    def further(self, before: Ledger) -> Question:
        """A question that goes on after an answer."""
        return Question(f"{before.name}, then", FURTHER, before.id)


def scripted(count: int, tokens: int) -> list[Question]:
    """Different questions, of which every eighth thinks before it answers."""
    thinks = (f" [reasoning={tokens // 4}]" if at % 8 == 7 else "" for at in range(count))
    return [Question(str(at), f"Question {at}: what is new? [tokens={tokens}]{each}") for at, each in enumerate(thinks)]


async def with_references(url: str, questions: Sequence[Question]) -> QuestionSet:
    """Ask a node everything and further, while nothing is broken. Raises RuntimeError if it does not answer."""
    alone = QuestionSet(questions, {})
    pairs = await asyncio.gather(*(_undisturbed(url, alone, question) for question in questions))
    return QuestionSet(questions, {ledger.name: _reference(ledger) for pair in pairs for ledger in pair})


async def _undisturbed(url: str, alone: QuestionSet, question: Question) -> tuple[Ledger, Ledger]:
    client = Client([url], Random(0))
    first = await client.ask(question, f"reference-{question.name}", TURN)
    second = await client.ask(alone.further(first), f"reference-{question.name}-then", TURN)
    client.disconnect()
    return first, second


def _reference(ledger: Ledger) -> Reference:
    if ledger.final is None or ledger.final["status"] != "completed":
        raise RuntimeError(f"an undisturbed node did not answer question {ledger.name}: {ledger.end or ledger.final}")
    return Reference(said(ledger.final), ledger.final["usage"]["output_tokens"])


class Workload:
    """A fixed number of clients, each of which asks question after question until `finish`."""

    def __init__(self, testbed: Cluster, task: QuestionSet, size: int, seed: int, make: WireFactory = Wire) -> None:
        self.testbed = testbed
        self.task = task
        self.chained = CHAINED
        self.ended: list[Ledger] = []
        self.faults: list[Fault] = []
        random = Random(seed)
        self.name = f"{random.getrandbits(64):x}"  # in idempotency keys, which the server keeps
        self.clients = [Client([testbed.balancer.url], Random(random.random()), make) for _ in range(size)]
        self._asking = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Workload":
        self._tasks = [
            asyncio.create_task(self._ask_until_stopped(at, client)) for at, client in enumerate(self.clients)
        ]
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Cancel the turns that still run, and close all sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.disconnect()

    @property
    def busy(self) -> int:
        """Turns that run and have begun to show text."""
        turns = (client.turn for client in self.clients)
        return sum(turn is not None and turn.number > 3 and not turn.over for turn in turns)

    async def settle(self, share: float = 0.5) -> None:
        """Wait until so many clients are being answered. Raises TimeoutError."""
        await eventually(lambda: self.busy >= share * len(self.clients), TURN)

    async def until(self, turns: int) -> None:
        """Wait for so many ended turns. Raises TimeoutError where none ends any more."""
        while (before := len(self.ended)) < turns:
            await eventually(lambda: len(self.ended) > before, TURN + STORED + 10)

    async def finish(self) -> None:
        """Start no new turn, and wait for the running ones: each has a deadline."""
        self._asking = False
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Every client loses its socket."""
        for client in self.clients:
            client.cut()

    def record_fault(self, begin: float) -> None:
        """Record a fault that began at `begin` and ends now."""
        self.faults.append(Fault(begin, perf_counter()))

    async def _ask_until_stopped(self, at: int, client: Client) -> None:
        number = 0
        question = client.random.choice(self.task.questions)
        await asyncio.sleep(client.random.uniform(0, 1))  # so that answers do not end all at once
        while self._asking:
            number += 1
            if client.random.random() < FRESH:
                client.disconnect()
            ledger = await client.ask(question, f"{self.name}-{at}-{number}", TURN)
            if ledger.final is not None:
                ledger.stored = await fetch_stored(self.testbed, ledger.id)
            self.ended.append(ledger)
            question = self._next(client.random, question, ledger)

    def _next(self, random: Random, question: Question, before: Ledger) -> Question:
        """A chain is two questions long."""
        if before.final is not None and question.after is None and random.random() < self.chained:
            return self.task.further(before)
        return random.choice(self.task.questions)


async def fetch_stored(testbed: Cluster, id: str) -> Mapping[str, object] | None:
    """The stored response as any node returns it; None where it is not found, or no node answers in time."""
    try:
        async with asyncio.timeout(STORED):
            while True:
                try:
                    return await http.stored(HOST, testbed.balancer.port, id)
                except (OSError, TimeoutError):
                    await asyncio.sleep(0.1)
    except TimeoutError:
        return None


async def row(name: str, workload: Workload, *, durable: bool = True) -> Row:
    """The result of a scenario. With `durable`, every stored response must still be there."""
    result = Row(name, injected=len(workload.faults))
    tally(result, workload.ended, workload.task.known, durable=durable)
    for ledger in workload.ended:
        felt = [gap for fault in workload.faults if (gap := felt_gap(ledger, fault)) is not None]
        result.hit += bool(felt)
        result.gaps += felt
    codes = sum((client.closes for client in workload.clients), Counter[int]())
    if codes:
        result.notes.append("sockets lost under a turn, by close code: " + counts(codes))
    await recheck(result, workload, durable=durable)
    await inspect(result, workload.testbed)
    logged(result, workload.testbed)
    return result


async def recheck(result: Row, workload: Workload, *, durable: bool) -> None:
    """Ask for everything that was stored once more: it may be gone where Redis is not durable, never another."""
    there = [ledger for ledger in workload.ended if ledger.stored is not None]
    gone = other = 0
    for begin in range(0, len(there), AT_ONCE):
        some = there[begin : begin + AT_ONCE]
        again = await asyncio.gather(*(fetch_stored(workload.testbed, ledger.id) for ledger in some))
        gone += again.count(None)
        other += sum(b is not None and a.stored != b for a, b in zip(some, again, strict=True))
    if gone:
        (result.notes if not durable else result.wrong).append(f"{gone} stored answers are gone")
    if other:
        result.wrong.append(f"{other} stored answers are others than before")


def tally(result: Row, ledgers: Sequence[Ledger], known: References, *, durable: bool = True) -> None:
    """Count turns and what is wrong with them."""
    refused: Counter[str] = Counter()
    for ledger in ledgers:
        verdict = judge(ledger, known.get(ledger.name), durable=durable)
        result.turns += 1
        result.holes += verdict.holes
        for kind in ("lost", "repeated", "changed", "failed"):
            setattr(result, kind, getattr(result, kind) + bool(getattr(verdict, kind)))
        if len(result.wrong) < SHOWN:
            result.wrong += [f"{ledger.id or 'a turn without an id'}: {why}" for why in verdict.why]
        refused.update(ledger.refused)
    gone = sum(ledger.final is not None and ledger.stored is None for ledger in ledgers)
    if gone and not durable:
        result.notes.append(f"{gone} finished answers were not stored any more when their client asked for them")
    result.refused += refused.total()
    if refused:
        result.notes.append("refused, then asked again: " + counts(refused))


def counts(counter: Counter[str] | Counter[int]) -> str:
    """A counter as text: `key x count`, separated by commas."""
    return ", ".join(f"{key} x {count}" for key, count in sorted(counter.items(), key=str))


def felt_gap(ledger: Ledger, fault: Fault) -> float | None:
    """How long a turn that was running was silent: if it lost its socket, or was silent for longer than usual."""
    begun = [event for event in ledger.events if event.arrived <= fault.begin]
    if not begun or begun[-1] is ledger.events[-1]:
        return None
    gap = silence(ledger.events, fault.begin, fault.until)
    cut = any(fault.begin <= at <= fault.until for at in ledger.cuts)
    return gap if gap is not None and (cut or gap >= FELT) else None


async def inspect(result: Row, testbed: Cluster) -> None:
    """Every log in Redis: an entry's id names its last event and their count, so each must follow the one before."""
    async for key, ids in testbed.redis.logs():
        if not is_contiguous([tuple(map(int, id.split(b"-"))) for id in ids]):
            result.broken += 1
            if len(result.wrong) < SHOWN:
                result.wrong.append(f"the log {key.decode()} is broken: {b' '.join(ids[:50]).decode()}")


def is_contiguous(ids: Sequence[tuple[int, ...]]) -> bool:
    """Whether entries stand one behind the other, holes aside."""
    last = -1
    for top, count in ids:
        if top - count not in {last, last + 1000}:
            return False
        last = top
    return True


def logged(result: Row, testbed: Cluster) -> None:
    """Count the errors in the nodes' logs, and tracebacks and warnings that are no log entries."""
    lines = (line for node in testbed.nodes for line in node.program.output.read_text(errors="replace").splitlines())
    events = Counter(filter(None, map(logged_problem, lines)))
    result.errors += events.total()
    if events:
        result.notes.append("errors that nodes logged: " + counts(Counter(dict(events.most_common(SHOWN)))))


def logged_problem(line: str) -> str:
    """The event of an error entry, or a line that shows an unhandled error; empty for any other line."""
    try:
        entry = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return line[:200] if any(word in line for word in WORRYING) else ""
    return str(entry.get("event")) if entry.get("level") in {"error", "critical"} else ""
