"""One turn under a lease: replay what was said, generate, append, finish. It never knows who is looking."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import orjson
import structlog

from engine.base import CannotContinue, Chunk, Engine, EngineDead, EngineError, Finish, Prompt
from server.log.journal import ClaimedLog, Journal, Writer, WriterError
from server.protocol.entry import Event, Kind, Open, decode
from server.protocol.output import ResponseBuilder
from server.protocol.response import Usage, ended
from server.protocol.status import Status
from server.store.errors import StoreError
from server.store.types import HOLE, Item, Lease, LogEntry, NewTurn, TurnRef
from server.telemetry.instruments import Telemetry, TurnTelemetry
from server.turns.spec import TurnSpec

log = structlog.get_logger(__name__)

OUTCOMES = {Finish.STOP: (Status.COMPLETED, None), Finish.LENGTH: (Status.INCOMPLETE, "max_output_tokens")}


class TurnOutcome(msgspec.Struct, frozen=True):
    """How a generation ended."""

    status: Status
    reason: str | None = None
    error: tuple[str, str] | None = None


class Runner:
    """Runs one turn once."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        telemetry: Telemetry,
        ref: TurnRef,
        lease: Lease,
        record: TurnSpec,
        log: Sequence[LogEntry],
        facts: TurnTelemetry,
        verdict: TurnOutcome | None = None,
        *,
        hole: bool = False,
        origin: NewTurn | None = None,
    ) -> None:
        self.engine = engine
        self.telemetry = telemetry
        self.ref = ref
        self.lease = lease
        self.record = record
        self.answer = ResponseBuilder(record.suffix)
        self.cached = 0  # prompt tokens that the engine found in its cache
        self.reasoning = 0  # tokens of reasoning, known at the end
        self.stopping = False  # a cancel was asked for
        self.ending = False  # the generation is over, only its end is being written
        self.task: asyncio.Task[Any] | None = None  # set while `run` is running
        self.facts = facts
        self.verdict = verdict  # known before it ran: this node cannot run it
        # With a hole, numbers may have been used that are not in the log; `origin` is what it was admitted with, here.
        self.writer = self._replay(journal, log, HOLE if hole else 0, origin)

    async def run(self) -> None:
        """The whole turn. Cancelling it leaves the turn unfinished for another owner. Raises EngineDead, likewise."""
        self.task = asyncio.current_task()
        try:
            self._begin()
            with self.telemetry.step(self.facts, "engine"):
                verdict = await self._verdict()
            self.ending = True
            with self.telemetry.step(self.facts, "log"):
                await self._finish(verdict)
        except WriterError as error:
            self.facts.status = error.result.status
            log.warning("turn given up", response_id=self.ref.id, reason=str(error))
        finally:
            self.writer.close()
            self.telemetry.finished(self.facts)

    def stop(self) -> None:
        """A cancel: end the generation now and keep what was said."""
        if self.stopping or self.ending:
            return
        self.stopping = True
        if self.task is not None:
            self.task.cancel()

    def _replay(self, journal: Journal, log: Sequence[LogEntry], skip: int, origin: NewTurn | None) -> Writer:
        open: Open | None = None
        for logged in log:
            self.answer.replay(decode(logged.entry).events)
            open = self.answer.open
        claimed = ClaimedLog(self.ref, self.lease, log[-1].last_seq + skip, log, open, origin)
        return journal.open_writer(claimed, self._told)

    def _told(self, writer: Writer) -> None:
        """News from the log: a stop was asked for, or the turn is no longer ours."""
        if writer.error is not None and not self.ending and self.task is not None:
            self.task.cancel()
        elif writer.stopped:
            self.stop()

    def _begin(self) -> None:
        if self.answer.status is Status.QUEUED:
            self.writer.append(self.answer.begin())
        self.facts.started = time.time()

    async def _verdict(self) -> TurnOutcome:
        if self.stopping:
            return TurnOutcome(Status.CANCELLED)
        if self.verdict is not None:
            return self.verdict
        try:
            return await self._generate()
        except asyncio.CancelledError:
            return self._interrupted()
        except EngineDead:
            raise  # not this turn's fault: another engine goes on with it
        except EngineError as error:
            return TurnOutcome(Status.FAILED, error=_explain(error))
        except StoreError:
            raise
        except Exception:
            log.exception("turn failed", response_id=self.ref.id)
            return TurnOutcome(
                Status.FAILED, error=("server_error", "The server had an error while writing this answer.")
            )

    def _interrupted(self) -> TurnOutcome:
        """Tell our own two reasons to cancel from the node's, which goes on up."""
        if self.task is None or not (self.stopping or self.writer.error):
            raise
        self.task.uncancel()
        if self.writer.error is not None:
            raise self.writer.error
        return TurnOutcome(Status.CANCELLED)

    async def _generate(self) -> TurnOutcome:
        if not self.record.generates:
            return await self._warm_up()
        id = f"{self.ref.id}-{self.lease.fence}"
        said = self.answer.said()
        finish = Finish.STOP
        chunks = self.engine.generate(id, self._prompt(), self.record.params, said, self._take_at_once)
        async with aclosing(chunks):
            async for chunk in chunks:
                self._take(chunk)
                if chunk.finish is not None:
                    finish, self.reasoning = chunk.finish, chunk.reasoning_tokens
                await self.writer.wait_for_room()
        return TurnOutcome(*OUTCOMES[finish])

    def _take_at_once(self, chunk: Chunk) -> float | None:
        """For the engine: called where the chunk is made. It raises nothing but a bug of ours."""
        if self.stopping or not self.writer.has_room:
            return None
        self._take(chunk)
        return self.writer.merge_due if chunk.deltas else 0.0

    def _take(self, chunk: Chunk) -> None:
        self.writer.append(self.answer.take(chunk))
        if not self.facts.first:
            self.facts.token()
        if chunk.cached_tokens > self.cached:
            self.cached = chunk.cached_tokens

    async def _warm_up(self) -> TurnOutcome:
        """`generate: false`: the prefix cache is filled, nothing is said."""
        params = msgspec.structs.replace(self.record.params, max_tokens=1, format=None)
        id = f"{self.ref.id}-{self.lease.fence}"
        async with aclosing(self.engine.generate(id, self._prompt(), params, self.answer.said())) as chunks:
            async for chunk in chunks:
                self.cached = chunk.cached_tokens
        return TurnOutcome(Status.COMPLETED)

    def _prompt(self) -> Prompt:
        if self.record.prompt is None:
            raise CannotContinue("its prompt is not known here")
        return self.record.prompt

    async def _finish(self, verdict: TurnOutcome) -> None:
        closing = self.answer.close(verdict.status)
        usage = self._usage()
        response = ended(
            self.record.response,
            verdict.status,
            self.answer.items,
            usage,
            int(time.time()),
            reason=verdict.reason,
            error=verdict.error,
        )
        events: list[Event] = [*closing, *self.answer.end(verdict.status, response)]
        output = tuple(Item(item["id"], orjson.dumps(item)) for item in self.answer.items)
        await self.writer.finish(events, verdict.status, orjson.dumps(response), output)
        self.facts.ended(verdict.status, verdict.reason or (verdict.error or (None,))[0], usage)

    def _usage(self) -> Usage:
        output = len(self.answer.token_ids) + len(self.answer.held)
        return Usage(self.record.prompt_tokens, self.cached, output, self.reasoning)


def first_events(*, leased: bool) -> list[Event]:
    """What admission writes into the log."""
    return [Event(Kind.CREATED), Event(Kind.IN_PROGRESS if leased else Kind.QUEUED)]


def _explain(error: EngineError) -> tuple[str, str]:
    if isinstance(error, CannotContinue):
        return "cannot_continue", f"The answer was cut and cannot be continued: {error}."
    return "server_error", f"The model could not finish this answer: {error}."
