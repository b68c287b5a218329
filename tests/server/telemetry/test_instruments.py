"""Spans, metrics and the canonical line; and that no chat text is in any of them."""

import io
import json
import logging
import logging.config
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from engine.scripted import ScriptedEngine
from server.log.journal import Journal
from server.log.subscriber import LogSubscriber
from server.log_config import dict_config, formatter, resolve
from server.node.node import Node, NodeConfig
from server.node.service import TurnService
from server.protocol.errors import WireError
from server.protocol.request import parse_request
from server.protocol.response import Usage
from server.store.memory.store import MemoryStore
from server.telemetry.instruments import Telemetry, TurnTelemetry, instruments, release
from server.turns.prompt import TurnRequest

SECRET = "Rumpelstilzchen"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Seen:
    """Instruments whose spans stay in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        registry = CollectorRegistry()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider(metric_readers=[PrometheusMetricReader(registry=registry)])
        self.telemetry = Telemetry(registry, tracers, meters)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The ended ones by name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Instruments, closed at the end."""
    seen = Seen()
    yield seen
    seen.telemetry.close()


def facts(telemetry: Telemetry, asked: float = 1_700_000_000.0, headers: dict[str, str] | None = None) -> TurnTelemetry:
    return telemetry.begin("resp_1", "demo", asked, headers or {})


def done(telemetry: Telemetry) -> TurnTelemetry:
    """A turn with every fact known."""
    turn = facts(telemetry)
    turn.started_at, turn.first_token_at = turn.requested_at + 0.5, turn.requested_at + 0.75
    turn.on_end("incomplete", "max_output_tokens", Usage(input=7, cached=4, output=11))
    telemetry.finished(turn)
    return turn


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


class TestLine:
    """One line for a finished turn, with all its facts."""

    def test_all_facts(self, seen: Seen) -> None:
        with capture_logs() as lines:
            done(seen.telemetry)
        [line] = lines
        assert line["event"] == "turn"
        known = {
            "response_id": "resp_1",
            "model": "demo",
            "status": "incomplete",
            "finish": "max_output_tokens",
            "resumed": False,
            "queue_ms": 500.0,
            "ttft_ms": 750.0,
            "input_tokens": 7,
            "cached_tokens": 4,
            "output_tokens": 11,
        }
        assert known.items() <= line.items()
        assert line.keys() - known.keys() >= {"total_ms", "tokens_per_s", "trace_id"}

    def test_a_turn_that_said_nothing(self, seen: Seen) -> None:
        with capture_logs() as lines:
            seen.telemetry.finished(facts(seen.telemetry))
        assert (lines[0]["status"], lines[0]["queue_ms"], lines[0]["ttft_ms"]) == ("unfinished", None, None)
        assert lines[0]["tokens_per_s"] is None

    def test_it_names_the_trace(self, seen: Seen) -> None:
        with capture_logs() as lines:
            seen.telemetry.finished(facts(seen.telemetry, headers={"traceparent": PARENT}))
        assert lines[0]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"

    def test_the_first_chunk_counts_once(self, seen: Seen) -> None:
        turn = facts(seen.telemetry)
        turn.on_token()
        first = turn.first_token_at
        turn.on_token()
        assert turn.first_token_at == first > 0


class TestSpans:
    """A turn's root, and its steps below it."""

    def test_the_root_has_the_conventions_names(self, seen: Seen) -> None:
        done(seen.telemetry)
        span = seen.spans["chat demo"]
        assert span.kind is SpanKind.SERVER
        assert attributes(span) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "throughline",
            "gen_ai.request.model": "demo",
            "gen_ai.response.id": "resp_1",
            "gen_ai.response.model": "demo",
            "gen_ai.response.finish_reasons": ("max_output_tokens",),
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 11,
        }

    def test_it_begins_when_the_request_came(self, seen: Seen) -> None:
        done(seen.telemetry)
        assert seen.spans["chat demo"].start_time == 1_700_000_000_000_000_000

    def test_it_stands_below_the_client_s_own(self, seen: Seen) -> None:
        seen.telemetry.finished(facts(seen.telemetry, headers={"traceparent": PARENT}))
        parent = seen.spans["chat demo"].parent
        assert parent is not None
        assert f"{parent.span_id:016x}" == "b7ad6b7169203331"

    @pytest.mark.parametrize("headers", [{}, {"traceparent": ""}, {"traceparent": "00-junk"}])
    def test_without_a_client_s_trace_it_begins_one(self, seen: Seen, headers: dict[str, str]) -> None:
        seen.telemetry.finished(facts(seen.telemetry, headers=headers))
        assert seen.spans["chat demo"].parent is None

    def test_a_step_stands_below_the_root(self, seen: Seen) -> None:
        turn = facts(seen.telemetry)
        with seen.telemetry.step(turn, "render"):
            pass
        parent = seen.spans["render"].parent
        assert parent is not None
        assert parent.span_id == turn.span.get_span_context().span_id

    def test_a_step_that_fails_says_what_raised_and_nothing_more(self, seen: Seen) -> None:
        with pytest.raises(ValueError, match=SECRET), seen.telemetry.step(facts(seen.telemetry), "render"):
            raise ValueError(SECRET)
        span = seen.spans["render"]
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
        assert list(span.events) == []

    def test_a_rescue_is_linked_to_what_it_continues(self, seen: Seen) -> None:
        begun = facts(seen.telemetry)
        origin = seen.telemetry.traceparent(begun)
        rescue = seen.telemetry.resume("resp_1", "demo", begun.requested_at, origin)
        seen.telemetry.finished(rescue)
        span = seen.spans["chat demo"]
        assert rescue.resumed
        assert span.parent is None
        assert [link.context.span_id for link in span.links] == [begun.span.get_span_context().span_id]

    @pytest.mark.parametrize("origin", ["", "junk"])
    def test_a_rescue_of_something_unknown_has_no_link(self, seen: Seen, origin: str) -> None:
        seen.telemetry.finished(seen.telemetry.resume("resp_1", "demo", 1.0, origin))
        assert list(seen.spans["chat demo"].links) == []

    def test_a_refusal_ends_the_root(self, seen: Seen) -> None:
        seen.telemetry.refused(facts(seen.telemetry), "model_not_found")
        assert seen.spans["chat demo"].status.description == "model_not_found"


class TestMetrics:
    """What Prometheus reads."""

    def exposed(self, telemetry: Telemetry) -> dict[str, float]:
        lines = telemetry.exposition().decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def total(self, telemetry: Telemetry, name: str, *labels: str) -> float:
        rows = self.exposed(telemetry).items()
        return sum(
            value for row, value in rows if row.startswith(f"{name}{{") and all(label in row for label in labels)
        )

    def test_time_to_first_token(self, seen: Seen) -> None:
        done(seen.telemetry)
        assert self.total(seen.telemetry, "gen_ai_server_time_to_first_token_seconds_sum") == 0.75
        assert self.total(seen.telemetry, "gen_ai_server_time_to_first_token_seconds_count") == 1

    def test_a_rescue_has_no_time_to_first_token(self, seen: Seen) -> None:
        turn = seen.telemetry.resume("resp_1", "demo", 1.0, "")
        turn.on_token()
        seen.telemetry.finished(turn)
        assert self.total(seen.telemetry, "gen_ai_server_time_to_first_token_seconds_count") == 0

    def test_tokens(self, seen: Seen) -> None:
        done(seen.telemetry)
        assert self.total(seen.telemetry, "throughline_tokens_total", 'gen_ai_token_type="input"') == 7
        assert self.total(seen.telemetry, "throughline_tokens_total", 'gen_ai_token_type="output"') == 11

    def test_turns_by_status(self, seen: Seen) -> None:
        done(seen.telemetry)
        assert self.total(seen.telemetry, "throughline_turns_total", 'status="incomplete"') == 1

    def test_refusals_by_code(self, seen: Seen) -> None:
        seen.telemetry.refused(None, "server_overloaded")
        assert self.total(seen.telemetry, "throughline_refused_total", 'error_type="server_overloaded"') == 1

    def test_gauges_are_read_when_somebody_asks(self, seen: Seen) -> None:
        now = seen.telemetry.gauges
        now.sockets, now.running, now.waiting = 3, 2, 1
        read = [self.total(seen.telemetry, f"throughline_{name}") for name in ("sockets", "running", "waiting")]
        assert read == [3, 2, 1]

    def test_a_node_s_own_instruments(self) -> None:
        telemetry = instruments()
        done(telemetry)
        text = telemetry.exposition().decode()
        telemetry.close()
        assert "gen_ai_server_time_to_first_token_seconds_bucket" in text
        assert 'le="0.75"' in text
        assert f'service_version="{release()}"' in text
        for name in ("sockets", "running", "waiting"):
            assert f"throughline_{name}" in text


@asynccontextmanager
async def node(telemetry: Telemetry) -> AsyncIterator[Node]:
    """A node without sockets, on a store in memory."""
    store = MemoryStore()
    async with Journal(store) as journal:
        node = Node(ScriptedEngine(name="demo"), store, journal, telemetry, NodeConfig("demo", 4))
        await node.load()
        try:
            yield node
        finally:
            await node.close()


def ask(**fields: Any) -> TurnRequest:
    return TurnRequest("ann", parse_request({"input": f"Say {SECRET}.", "max_output_tokens": 8, **fields}), "print")


class TestTurn:
    """A whole turn, from the request to its end."""

    async def run(self, seen: Seen, **fields: Any) -> dict[str, Any]:
        async with node(seen.telemetry) as made:
            async with LogSubscriber(made.resources.store) as subscriber:
                admitted = await TurnService(made, made.resources.store, subscriber).create(ask(**fields))
            await made.tasks.join()
            stored = await made.resources.store.response(admitted.ref)
        assert stored is not None
        final: dict[str, Any] = orjson.loads(stored.response)
        return final

    async def test_its_steps_are_spans_of_one_trace(self, seen: Seen) -> None:
        await self.run(seen)
        assert seen.spans.keys() == {"chat demo", "render", "admit", "engine", "log"}
        assert len({span.context.trace_id for span in seen.spans.values() if span.context}) == 1

    async def test_its_facts_are_the_response_s(self, seen: Seen) -> None:
        with capture_logs() as lines:
            final = await self.run(seen)
        [line] = [line for line in lines if line["event"] == "turn"]
        assert (line["response_id"], line["status"]) == (final["id"], final["status"])
        assert line["output_tokens"] == final["usage"]["output_tokens"]
        assert line["input_tokens"] == attributes(seen.spans["chat demo"])["gen_ai.usage.input_tokens"]

    async def test_no_chat_text_anywhere(self, seen: Seen) -> None:
        with capture_logs() as lines:
            final = await self.run(seen, instructions=f"You are {SECRET}.", metadata={"name": SECRET}, user=SECRET)
        said = final["output"][0]["content"][0]["text"]
        shown = "\n".join(span.to_json() for span in seen.spans.values())
        shown += str(lines) + seen.telemetry.exposition().decode()
        assert SECRET not in shown
        assert said[:12]
        assert said[:12] not in shown

    async def test_a_refusal_is_counted_and_shows_no_text(self, seen: Seen) -> None:
        with capture_logs() as lines, pytest.raises(WireError):
            await self.run(seen, temperature=99)
        assert "throughline_refused_total" in seen.telemetry.exposition().decode()
        assert SECRET not in str(lines) + "".join(span.to_json() for span in seen.spans.values())


class TestLogFormat:
    """How lines look."""

    def line(self, **fields: Any) -> dict[str, Any]:
        """One line, through the formatter that the process and the engine's children use."""
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter("json"))
        record = logging.LogRecord("somebody", logging.INFO, __file__, 1, "said %s", ("hello",), None)
        record.__dict__.update(fields)
        handler.handle(record)
        written: dict[str, Any] = json.loads(stream.getvalue())
        return written

    def test_json(self) -> None:
        line = self.line(port=8000)
        assert (line["event"], line["level"], line["logger"], line["port"]) == ("said hello", "info", "somebody", 8000)
        assert line["timestamp"].endswith("Z")

    def test_uvicorn_s_colours_are_left_out(self) -> None:
        assert "color_message" not in self.line(color_message="\x1b[1m")

    def test_auto_is_for_people_where_somebody_looks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for looks, style in ((True, "console"), (False, "json")):
            monkeypatch.setattr("sys.stderr.isatty", lambda looks=looks: looks, raising=False)
            assert resolve("auto") == style
        assert resolve("json") == "json"

    @pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
    def test_the_configuration_can_be_written_to_a_file(self, level: str) -> None:
        config = dict_config("json", level)
        assert json.loads(json.dumps(config)) == config
        assert config["root"]["level"] == level

    def test_console(self) -> None:
        record = logging.LogRecord("somebody", logging.INFO, __file__, 1, "said %s", ("hello",), None)
        line = formatter("console").format(record)
        assert "said hello" in line
        assert not line.startswith("{")

    def test_a_traceback_shows_no_local_variables(self) -> None:
        """They would hold chat text."""
        try:
            chat = f"my {SECRET}"
            raise ValueError(len(chat))
        except ValueError:
            info = sys.exc_info()
        line = formatter("console").format(
            logging.LogRecord("somebody", logging.ERROR, __file__, 1, "failed", (), info)
        )
        assert "ValueError" in line
        assert SECRET not in line


RAW = "\x1b[2J\x07\n2026-01-01 [info     ] forged\r\x9b\u2028\u202e\x7f\x00"


class TestConsoleEscapes:
    """Nothing that a client sent reaches a terminal as anything but text, nor looks like a line of its own."""

    def line(self, event: str = "said", info: Any = None, **fields: Any) -> str:
        record = logging.LogRecord("somebody", logging.WARNING, __file__, 1, event, (), info)
        record.__dict__.update(fields)
        return formatter("console").format(record)

    @pytest.mark.parametrize("value", [RAW, RAW.replace(" ", ""), [RAW], {"a": RAW}, ValueError(RAW), "\x1b]0;x\x07"])
    def test_values(self, value: Any) -> None:
        line = self.line(path=value)
        assert line.isprintable()
        assert "path=" in line

    def test_objects_with_a_representation_of_their_own(self) -> None:
        class Loud:
            def __repr__(self) -> str:
                return RAW

        assert self.line(path=Loud()).isprintable()

    def test_escapes_are_those_of_json(self) -> None:
        assert self.line(path="/\x1b\x07a").endswith('path="/\\u001b\\u0007a"')
        assert self.line(path="/\x7f\u2028 b").endswith('path="/\\u007f\\u2028 b"')
        assert "said \\u001b[31m\\nmore" in self.line("said \x1b[31m\nmore\n")

    def test_the_message_of_another_package(self) -> None:
        assert self.line(f"Exception in {RAW}").isprintable()

    def test_a_line_of_our_own(self) -> None:
        record = logging.LogRecord("ours", logging.WARNING, __file__, 1, {"event": RAW, "path": RAW}, (), None)
        record._logger, record._name = None, "ours"
        assert formatter("console").format(record).isprintable()

    def test_what_is_well_stays_as_it_was(self) -> None:
        line = self.line("ready", model="qwen", port=8000, none=None, path="/v1/größe", text="two words")
        assert line.endswith("model=qwen none=None path=/v1/größe port=8000 text='two words'")

    def test_the_lines_of_a_traceback_are_indented_and_escaped(self) -> None:
        try:
            raise ValueError(RAW)
        except ValueError:
            info = sys.exc_info()
        first, *rest = self.line("failed", info).split("\n")
        assert first.isprintable()
        assert any("ValueError" in line for line in rest)
        assert all(line.startswith("  ") and line.isprintable() for line in rest)

    def test_a_stack_is_too(self) -> None:
        _, *rest = self.line("said", stack=f"Stack\n{RAW}").split("\n")
        assert rest
        assert all(line.startswith("  ") and line.isprintable() for line in rest)

    def test_json_is_one_line_of_ascii(self) -> None:
        record = logging.LogRecord("somebody", logging.WARNING, __file__, 1, RAW, (), None)
        record.__dict__["path"] = RAW
        line = formatter("json").format(record)
        assert line.isascii()
        assert "\n" not in line
        assert json.loads(line)["path"] == RAW
