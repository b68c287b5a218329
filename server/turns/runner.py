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
    """How a turn ends. `error` is its code and message."""

    status: Status
    reason: str | None = None
    error: tuple[str, str] | None = None


class LeasedTurn(msgspec.Struct, frozen=True):
    """A turn that this node holds, with all that is needed to run it."""

    ref: TurnRef
    spec: TurnSpec
    lease: Lease
    entries: Sequence[LogEntry]  # its whole log so far
    telemetry: TurnTelemetry
    outcome: TurnOutcome | None = None  # known before it runs: this node cannot run it
    has_hole: bool = False  # numbers above the log may have been used for entries that are lost
    origin: NewTurn | None = None  # what admits it again, where Redis comes back empty
    stop: bool = False  # a cancel was asked for already


class Runner:
    """Runs one turn once. It is the sink of its own generation."""

    def __init__(self, engine: Engine, journal: Journal, telemetry: Telemetry, turn: LeasedTurn) -> None:
        self.ref = turn.ref
        self.spec = turn.spec
        self.task: asyncio.Task[Any] | None = None  # set while `run` is running
        self._engine = engine
        self._telemetry = telemetry
        self._turn = turn
        self._facts = turn.telemetry
        self._builder = ResponseBuilder(turn.spec.suffix)
        self._cached_tokens = 0  # of the prompt, that the engine found in its cache
        self._reasoning_tokens = 0  # known at the end
        self._stopping = turn.stop  # a cancel was asked for
        self._ending = False  # the generation is over, only its end is being written
        self._pushed_text = False  # whether the latest chunk that was pushed had any
        self._writer = self._replay(journal)

    @property
    def lease(self) -> Lease:
        """What the turn is written under. It changes where Redis came back older and the writer claimed again."""
        return self._writer.lease

    async def run(self) -> None:
        """The whole turn. Cancelling it leaves the turn unfinished for another owner. Raises EngineDead, likewise."""
        self.task = asyncio.current_task()
        try:
            self._begin()
            with self._telemetry.step(self._facts, "engine"):
                outcome = await self._outcome()
            self._ending = True
            with self._telemetry.step(self._facts, "log"):
                await self._finish(outcome)
        except WriterError as error:
            self._facts.status = error.result.status
            log.warning("turn_lost_to_another_writer", response_id=self.ref.id, reason=str(error))
        finally:
            self._writer.close()
            self._telemetry.finished(self._facts)
            self.task = None  # the two hold each other, and would be there until the collector came by

    def stop(self) -> None:
        """A cancel: end the generation now and keep what was said."""
        if self._stopping or self._ending:
            return
        self._stopping = True
        if self.task is not None:
            self.task.cancel()

    def _replay(self, journal: Journal) -> Writer:
        """Fold the log, and open a writer behind its end."""
        turn = self._turn
        open_item: Open | None = None
        for logged in turn.entries:
            self._builder.replay(decode(logged.entry).events)
            open_item = self._builder.open
        last_seq = turn.entries[-1].last_seq + (HOLE if turn.has_hole else 0)
        claimed = ClaimedLog(turn.ref, turn.lease, last_seq, turn.entries, open_item, turn.origin)
        return journal.open_writer(claimed, self._on_news)

    def _on_news(self, writer: Writer) -> None:
        """The log says that a stop was asked for, or that the turn is no longer ours."""
        if writer.error is not None and not self._ending and self.task is not None:
            self.task.cancel()
        elif writer.stopped:
            self.stop()

    def _begin(self) -> None:
        if self._builder.status is Status.QUEUED:
            self._writer.append(self._builder.begin())
        self._facts.started_at = time.time()

    async def _outcome(self) -> TurnOutcome:
        if self._stopping:
            return TurnOutcome(Status.CANCELLED)
        if self._turn.outcome is not None:
            return self._turn.outcome
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
            log.exception("turn_failed", response_id=self.ref.id)
            message = "The server had an error while writing this answer."
            return TurnOutcome(Status.FAILED, error=("server_error", message))

    def _interrupted(self) -> TurnOutcome:
        """Tell our own two reasons to cancel from the node's, which goes on up."""
        if self.task is None or not (self._stopping or self._writer.error):
            raise
        self.task.uncancel()
        if self._writer.error is not None:
            raise self._writer.error
        return TurnOutcome(Status.CANCELLED)

    # -- generating ----------------------------------------------------------------------------------------------

    async def _generate(self) -> TurnOutcome:
        if not self.spec.generates:
            return await self._warm_up()
        finish = Finish.STOP
        chunks = self._engine.generate(
            self._generation_id(), self._prompt(), self.spec.params, self._builder.said(), self
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                self._append(chunk)
                if chunk.finish is not None:
                    finish, self._reasoning_tokens = chunk.finish, chunk.reasoning_tokens
                await self._writer.wait_for_room()
        return TurnOutcome(*OUTCOMES[finish])

    def try_push(self, chunk: Chunk, /) -> bool:
        """Take a chunk where the engine made it, unless the turn is being stopped or too much is unacknowledged."""
        if self._stopping or not self._writer.has_room:
            return False
        self._append(chunk)
        self._pushed_text = bool(chunk.deltas)
        return True

    def merge_until(self) -> float:
        """When the writer sends next, in loop time; 0.0 after a chunk without text, which gave it nothing to send."""
        return self._writer.merge_due if self._pushed_text else 0.0

    def _append(self, chunk: Chunk) -> None:
        self._writer.append(self._builder.take(chunk))
        if not self._facts.first_token_at:
            self._facts.on_token()
        if chunk.cached_tokens > self._cached_tokens:
            self._cached_tokens = chunk.cached_tokens

    async def _warm_up(self) -> TurnOutcome:
        """`generate: false`: the prefix cache is filled, nothing is said."""
        params = msgspec.structs.replace(self.spec.params, max_tokens=1, format=None)
        said = self._builder.said()
        async with aclosing(self._engine.generate(self._generation_id(), self._prompt(), params, said)) as chunks:
            async for chunk in chunks:
                self._cached_tokens = chunk.cached_tokens
        return TurnOutcome(Status.COMPLETED)

    def _generation_id(self) -> str:
        """An engine must never see an id twice, also where a turn comes back to it."""
        return f"{self.ref.id}-{self._turn.lease.fence}"

    def _prompt(self) -> Prompt:
        if self.spec.prompt is None:
            raise CannotContinue("its prompt is not known here")
        return self.spec.prompt

    # -- ending --------------------------------------------------------------------------------------------------

    async def _finish(self, outcome: TurnOutcome) -> None:
        closing = self._builder.close(outcome.status)
        usage = self._usage()
        response = ended(
            self.spec.response,
            outcome.status,
            self._builder.items,
            usage,
            int(time.time()),
            reason=outcome.reason,
            error=outcome.error,
        )
        events: list[Event] = [*closing, *self._builder.end(outcome.status, response)]
        output = tuple(Item(item["id"], orjson.dumps(item)) for item in self._builder.items)
        await self._writer.finish(events, outcome.status, orjson.dumps(response), output)
        self._facts.on_end(outcome.status, outcome.reason or (outcome.error or (None,))[0], usage)

    def _usage(self) -> Usage:
        output = len(self._builder.token_ids) + len(self._builder.held)
        return Usage(self.spec.prompt_tokens, self._cached_tokens, output, self._reasoning_tokens)


def first_events(*, leased: bool) -> list[Event]:
    """What admission writes into the log."""
    return [Event(Kind.CREATED), Event(Kind.IN_PROGRESS if leased else Kind.QUEUED)]


def _explain(error: EngineError) -> tuple[str, str]:
    if isinstance(error, CannotContinue):
        return "cannot_continue", f"The answer was cut and cannot be continued: {error}."
    return "server_error", f"The model could not finish this answer: {error}."
