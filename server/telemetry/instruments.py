"""Every span, metric and log line that this node writes. The only importer of OpenTelemetry.

Names follow the GenAI semantic conventions (development status, so they are pinned here) where those have one. Chat
text is never recorded.
"""

import logging.config
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, generate_latest

from server import log_config as logformat
from server.protocol.response import Usage
from server.telemetry.unreadable import UnreadableRecords

SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
EXPORT_SECONDS = 2.0  # that an exit may take for the last spans and metrics
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PROVIDER = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "throughline"}


class TurnTelemetry:
    """What is known of one turn: filled in while it runs, written once as a log line, a span and metrics."""

    def __init__(self, id: str, model: str, asked: float, span: Span) -> None:
        self.id = id
        self.model = model
        self.requested_at = asked  # wall-clock seconds when the request came
        self.span = span  # the turn's root on this node
        self.started_at = 0.0  # when a slot was found
        self.first_token_at = 0.0  # when the first chunk came
        self.resumed = False  # this node goes on with somebody else's turn
        self.status = "unfinished"
        self.finish: str | None = None  # why it ended the way it did
        self.usage = Usage()

    def on_token(self) -> None:
        """Note the time of the first chunk."""
        if not self.first_token_at:
            self.first_token_at = time.time()

    def on_end(self, status: str, finish: str | None, usage: Usage) -> None:
        """The terminal event is in the log."""
        self.status, self.finish, self.usage = status, finish, usage


class Gauges(msgspec.Struct):
    """Gauges that are read when somebody scrapes."""

    sockets: int = 0
    running: int = 0
    waiting: int = 0


class Telemetry:
    """The instruments of one node."""

    def __init__(self, registry: CollectorRegistry, tracers: TracerProvider, meters: MeterProvider) -> None:
        self._registry = registry
        self._tracers = tracers
        self._meters = meters
        self._log = structlog.get_logger("throughline")
        self._tracer = tracers.get_tracer("throughline")
        self._carrier = TraceContextTextMapPropagator()
        self.gauges = Gauges()  # written by whoever knows
        meter = meters.get_meter("throughline")
        self._ttft = meter.create_histogram(
            "gen_ai.server.time_to_first_token", "s", "From the request to its first token"
        )
        self._tpot = meter.create_histogram(
            "gen_ai.server.time_per_output_token", "s", "Between tokens after the first"
        )
        self._duration = meter.create_histogram("gen_ai.server.request.duration", "s", "From the request to its end")
        self._tokens = meter.create_counter("throughline.tokens", "{token}", "Tokens read and written")
        self._turns = meter.create_counter("throughline.turns", "{turn}", "Turns ended, by status")
        self._refused = meter.create_counter("throughline.refused", "{request}", "Requests refused, by error code")
        self._task_failures = meter.create_counter(
            "throughline.task.failures", "{failure}", "Failures of tasks that are started again"
        )
        self._unreadable = meter.create_counter(
            "throughline.unreadable", "{record}", "Records of the store that were passed over, by kind"
        )
        self._redis_restarts = meter.create_counter(
            "throughline.redis.restarts", "{restart}", "Times that our own Redis ended and was started again"
        )
        self.unreadable = UnreadableRecords(lambda kind: self._unreadable.add(1, {"kind": kind}))
        for name, what in (
            ("sockets", "Open WebSockets"),
            ("running", "Turns in the engine"),
            ("waiting", "Turns queued"),
        ):
            meter.create_observable_gauge(f"throughline.{name}", [self._observe(name)], "1", what)

    # -- turns ---------------------------------------------------------------------------------------------------

    def begin(self, id: str, model: str, asked: float, headers: dict[str, str]) -> TurnTelemetry:
        """Open the turn's trace, below the client's own where it sent one."""
        span = self._root(model, context=self._carrier.extract(headers), start_time=int(asked * 1e9))
        return TurnTelemetry(id, model, asked, span)

    def resume(self, id: str, model: str, asked: float, origin: str) -> TurnTelemetry:
        """Go on with a turn that another process began: a new trace, linked to the first one."""
        context = trace.get_current_span(self._carrier.extract({"traceparent": origin})).get_span_context()
        links = [trace.Link(context)] if context.is_valid else []
        facts = TurnTelemetry(id, model, asked, self._root(model, links=links))
        facts.resumed = True
        return facts

    @contextmanager
    def step(self, facts: TurnTelemetry, name: str) -> Iterator[None]:
        """One part of the turn: render, admit, engine, log."""
        if not facts.span.is_recording():  # nobody would see it
            yield
            return
        span = self._tracer.start_span(name, context=trace.set_span_in_context(facts.span))
        try:
            yield
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def traceparent(self, facts: TurnTelemetry) -> str:
        """W3C trace context of the turn's span, kept with the turn for whoever goes on with it."""
        headers: dict[str, str] = {}
        self._carrier.inject(headers, context=trace.set_span_in_context(facts.span))
        return headers.get("traceparent", "")

    def refused(self, facts: TurnTelemetry | None, code: str) -> None:
        """A request was answered with an error."""
        self._refused.add(1, {"error.type": code})
        if facts is not None:
            facts.span.set_status(Status(StatusCode.ERROR, code))
            facts.span.end()

    def finished(self, facts: TurnTelemetry) -> None:
        """The canonical line, the span's end and the metrics of a turn that left this node."""
        now = time.time()
        line = _line(facts, now)
        context = facts.span.get_span_context()
        self._log.info("turn", **line, trace_id=trace.format_trace_id(context.trace_id))
        self._measure(facts, now)
        facts.span.set_attributes(_attributes(facts))
        facts.span.end()

    # -- the node ------------------------------------------------------------------------------------------------

    def task_failed(self, name: str) -> None:
        """A supervised task failed and is started again."""
        self._task_failures.add(1, {"task": name})

    def redis_restarted(self) -> None:
        """Our own Redis had ended without being asked to."""
        self._redis_restarts.add(1)

    def exposition(self) -> bytes:
        """All metrics as Prometheus text."""
        return generate_latest(self._registry)

    def close(self, seconds: float = EXPORT_SECONDS) -> None:
        """Export what is left, for at most `seconds`: a collector that is away or silent holds up no exit."""
        ends = [threading.Thread(target=each.shutdown, daemon=True) for each in (self._tracers, self._meters)]
        deadline = time.monotonic() + seconds
        for end in ends:
            end.start()
        for end in ends:
            end.join(max(0.0, deadline - time.monotonic()))
        if any(end.is_alive() for end in ends):
            self._log.warning("export_incomplete", seconds=seconds)

    def _root(self, model: str, **options: Any) -> Span:
        attributes = PROVIDER | {"gen_ai.request.model": model}
        return self._tracer.start_span(f"chat {model}", kind=trace.SpanKind.SERVER, attributes=attributes, **options)

    def _measure(self, facts: TurnTelemetry, now: float) -> None:
        self._turns.add(1, {"status": facts.status})
        labels = PROVIDER | {"gen_ai.request.model": facts.model}
        self._tokens.add(facts.usage.input, labels | {"gen_ai.token.type": "input"})
        self._tokens.add(facts.usage.output, labels | {"gen_ai.token.type": "output"})
        self._duration.record(now - facts.requested_at, labels)
        if facts.first_token_at and not facts.resumed:
            self._ttft.record(facts.first_token_at - facts.requested_at, labels)
        if facts.usage.output > 1:
            self._tpot.record((now - facts.first_token_at) / (facts.usage.output - 1), labels)

    def _observe(self, name: str) -> Any:
        def read(options: CallbackOptions) -> Iterator[Observation]:
            yield Observation(getattr(self.gauges, name))

        return read


def start(style: str, level: str, otlp: str) -> Telemetry:
    """Set up logging for the process, and make the instruments. `otlp` empty: nothing is exported."""
    logging.config.dictConfig(logformat.dict_config(style, level))
    structlog.configure(
        processors=[*logformat.SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return instruments(otlp)


def instruments(otlp: str = "") -> Telemetry:
    """Spans and metrics without touching the process's logging."""
    resource = Resource.create({"service.name": "throughline", "service.version": release()})
    registry = CollectorRegistry()
    # Without an exporter a span is only a trace id for the log line.
    tracers = TracerProvider(DEFAULT_ON if otlp else ALWAYS_OFF, resource=resource, shutdown_on_exit=False)
    readers: list[Any] = [PrometheusMetricReader(registry=registry)]
    if otlp:
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{otlp}/v1/traces")))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(f"{otlp}/v1/metrics")))
    meters = MeterProvider(metric_readers=readers, resource=resource, views=_views(), shutdown_on_exit=False)
    return Telemetry(registry, tracers, meters)


def release() -> str:
    """This program's version, from the one place that states it: the server runs from its tree, not installed."""
    project: dict[str, str] = tomllib.loads(PROJECT.read_text())["project"]
    return project["version"]


def _views() -> list[View]:
    buckets = {"time_to_first_token": SECONDS, "time_per_output_token": PER_TOKEN, "request.duration": DURATION}
    return [
        View(instrument_name=f"gen_ai.server.{name}", aggregation=ExplicitBucketHistogramAggregation(edges))
        for name, edges in buckets.items()
    ]


def _line(facts: TurnTelemetry, now: float) -> dict[str, Any]:
    """All facts of a turn, times in milliseconds."""
    writing = now - facts.first_token_at if facts.first_token_at else 0.0
    return {
        "response_id": facts.id,
        "model": facts.model,
        "status": facts.status,
        "finish": facts.finish,
        "resumed": facts.resumed,
        "queue_ms": _ms(facts.started_at - facts.requested_at) if facts.started_at else None,
        "ttft_ms": _ms(facts.first_token_at - facts.requested_at) if facts.first_token_at else None,
        "total_ms": _ms(now - facts.requested_at),
        "tokens_per_s": round(facts.usage.output / writing, 1) if writing > 0 else None,
        "input_tokens": facts.usage.input,
        "cached_tokens": facts.usage.cached,
        "output_tokens": facts.usage.output,
    }


def _attributes(facts: TurnTelemetry) -> dict[str, Any]:
    return {
        "gen_ai.response.id": facts.id,
        "gen_ai.response.model": facts.model,
        "gen_ai.response.finish_reasons": [facts.finish or facts.status],
        "gen_ai.usage.input_tokens": facts.usage.input,
        "gen_ai.usage.output_tokens": facts.usage.output,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
