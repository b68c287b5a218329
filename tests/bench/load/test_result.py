"""A run as numbers, a line and a page."""

import json
import re
from typing import Any

import pytest

from bench.load.metrics import Rules
from bench.load.options import Options
from bench.load.page import page
from bench.load.result import details, line, numbers
from bench.load.sample import Sample
from bench.load.workers import Run
from bench.processes import ResourceUsage

SAMPLES = [
    Sample(10.0, 10.0, [10.1, 10.2, 10.6], ended=10.7, input_tokens=5, output_tokens=6),
    Sample(10.1, 10.2, [], ended=10.3, error="http 503"),
]
# As `vllm bench serve` names them in its result file.
SHARED = (
    "date endpoint_type backend label model_id num_prompts request_rate burstiness max_concurrency duration completed "
    "failed total_input_tokens total_output_tokens request_throughput request_goodput output_throughput "
    "total_token_throughput max_output_tokens_per_s max_concurrent_requests mean_ttft_ms median_ttft_ms std_ttft_ms "
    "p99_ttft_ms mean_tpot_ms median_tpot_ms std_tpot_ms p99_tpot_ms mean_itl_ms median_itl_ms std_itl_ms p99_itl_ms "
    "mean_e2el_ms median_e2el_ms std_e2el_ms p99_e2el_ms"
)
SHARED_DETAILS = "input_lens output_lens ttfts itls latencies start_times errors"


def result(**changes: Any) -> dict[str, Any]:
    asked = Options("ws", "http://h", "m", concurrency=3, rules=Rules(slos={"ttft": 500}), **changes)
    run = Run(10.0, SAMPLES, 0.07, ResourceUsage(1.0, 0.1, 5.0), ResourceUsage(1.0003, 0.1, 5.0, 64 << 20, 0))
    return numbers(asked, run, "2026-01-01T00:00:00+00:00")


def test_result_fields_have_the_names_of_vllm_bench_serve() -> None:
    assert set(SHARED.split()) <= result().keys()
    assert set(SHARED_DETAILS.split()) <= details(SAMPLES, 10.0).keys()


def test_details_are_one_entry_per_request() -> None:
    every = details(SAMPLES, 10.0)
    assert {len(each) for each in every.values()} == {2}
    assert (every["errors"], every["start_times"][0]) == (["", "http 503"], 0.0)
    assert every.keys() & result().keys() == set()


def test_cpu_of_server_and_client_is_reported() -> None:
    found = result(processes=2)
    assert found["server_cpu_us_per_token"] == pytest.approx(50.0)
    assert found["client_cpu_share"] == pytest.approx(0.05)


def test_the_api_key_appears_in_no_report() -> None:
    found = result(key="secret-1")
    assert found["options"]["key"] == "given"
    assert "secret-1" not in page(found, SAMPLES, 10.0) + line(found) + json.dumps(found)


def test_the_summary_line_of_a_run() -> None:
    assert line(result(label="x")) == (
        "x: 1 of 2 answers in 0.7 s, 9 tokens/s, TTFT p50 100.0 p99 100.0 ms, ITL p50 250.0 p99 397.0 ms, "
        "TPOT p50 120.00 ms, good 100.0%, server 50.0 us/token, 1 sent late (max 100 ms), 1 x http 503"
    )


def test_the_report_loads_nothing_and_escapes_labels() -> None:
    """No address in it, no script, and both colour schemes."""
    text = page(result(label="<i>"), SAMPLES, 10.0)
    assert re.findall(r"(?:src|href|url\(|@import|<script|https?://(?!h\b))", text) == []
    assert "prefers-color-scheme: dark" in text
    assert "<i>" not in text
    assert "1 failed: 1 x http 503" in text


def test_the_report_describes_the_load() -> None:
    assert "3 sessions at once, up to 1 answers under way" in page(result(), SAMPLES, 10.0)
    assert "5 sessions per second, each of 2 turns, up to 1" in page(result(rate=5.0, turns=2), SAMPLES, 10.0)
    assert "sessions at the times of a trace, up to 1" in page(result(trace="t.jsonl"), SAMPLES, 10.0)
    assert "<time>2026-01-01 00:00 UTC</time>" in page(result(), SAMPLES, 10.0)


def test_the_report_names_the_slos() -> None:
    assert "good: first token \u2264 500\u00a0ms" in page(result(), SAMPLES, 10.0)


def test_the_report_of_a_run_without_samples_has_all_charts() -> None:
    asked = Options("ws", "http://h", "m")
    assert page(numbers(asked, Run(10.0, [], 0.0), ""), [], 10.0).count("<svg") == 4
