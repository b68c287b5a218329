"""`docs/metrics.md` lists every metric: its name, type, unit, labels and meaning."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Metric, Sum
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from server.protocol.response import Usage
from server.telemetry.instruments import Telemetry

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"^\| `([\w.]+)` \| (\w+) \| `([^`]+)` \| (.*?) \| (.+) \|$", re.MULTILINE)
KINDS: dict[type[Any], str] = {Sum: "counter", Gauge: "gauge", Histogram: "histogram"}
CREATED = re.compile(r"\.create_(?:observable_)?(?:counter|gauge|histogram|up_down_counter)\(\s*f?\"([^\"]+)\"")

Row = tuple[str, str, frozenset[str], str]  # type, unit, labels, meaning


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """A node's instruments, each of which has measured something."""
    reader = InMemoryMetricReader()
    telemetry = Telemetry(CollectorRegistry(), TracerProvider(), MeterProvider(metric_readers=[reader]))
    telemetry.refused(None, "not_found")
    telemetry.task_failed("heartbeat")
    telemetry.unreadable.report("turn", b"resp_1", ValueError("no number"))
    telemetry.redis_restarted()
    facts = telemetry.begin("resp_1", "m", 1.0, {})
    facts.on_token()
    facts.on_end("completed", "stop", Usage(input=3, cached=0, output=5))
    telemetry.finished(facts)
    return reader


def measured(reader: InMemoryMetricReader) -> Iterator[Metric]:
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def documented() -> dict[str, Row]:
    rows: list[tuple[str, str, str, str, str]] = ROW.findall(PAGE.read_text())
    return {
        name: (kind, unit, frozenset(re.findall(r"`([^`]+)`", labels)), meaning)
        for name, kind, unit, labels, meaning in rows
    }


def test_the_page_lists_what_is_measured(reader: InMemoryMetricReader) -> None:
    found: dict[str, Row] = {}
    for metric in measured(reader):
        labels = frozenset(name for point in metric.data.data_points for name in point.attributes or {})
        found[metric.name] = (KINDS[type(metric.data)], metric.unit or "", labels, metric.description or "")
    assert documented() == found


def test_every_instrument_has_measured_something_here() -> None:
    """What is made and not used above would be missing from the comparison."""
    text = "".join(path.read_text() for path in sorted((ROOT / "server").rglob("*.py")))
    made = {name for name in CREATED.findall(text) if "{" not in name}
    assert made <= documented().keys()
