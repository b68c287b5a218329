"""A run as numbers: the object that is written as JSON, and one line for people. Pure."""

import platform
from typing import Any

import msgspec

from bench.load.metrics import summary
from bench.load.options import Options
from bench.load.sample import Sample
from bench.load.workers import Run
from bench.processes import per_token


def numbers(options: Options, run: Run, date: str) -> dict[str, Any]:
    """Everything about a run. Field names follow `vllm bench serve` where it has the same thing."""
    about = _about(options, date)
    result = about | summary(run.samples, run.began, options.rules)
    duration = result["duration"] or 1.0
    result["client_cpu_share"] = run.client_cpu / duration / max(1, options.processes)
    if run.before is not None and run.after is not None:
        result |= per_token(run.before, run.after, result["total_output_tokens"])
    return result


def details(samples: list[Sample], began: float) -> dict[str, Any]:
    """One entry per request, in the order of their intended times."""
    return {
        "input_lens": [sample.input_tokens for sample in samples],
        "output_lens": [sample.output_tokens for sample in samples],
        "ttfts": [sample.ttft for sample in samples],
        "itls": [sample.gaps for sample in samples],
        "latencies": [sample.latency for sample in samples],
        "start_times": [sample.intended - began for sample in samples],
        "late_by": [sample.late for sample in samples],
        "connecting": [sample.connecting for sample in samples],
        "turns": [sample.turn for sample in samples],
        "errors": [sample.error or "" for sample in samples],
    }


def line(result: dict[str, Any]) -> str:
    """A summary of the run in one line."""
    parts = [
        f"{result['completed']} of {result['completed'] + result['failed']} answers in {result['duration']:.1f} s",
        f"{result['output_throughput']:,.0f} tokens/s",
        f"TTFT p50 {result['median_ttft_ms']:.1f} p99 {result['p99_ttft_ms']:.1f} ms",
        f"ITL p50 {result['median_itl_ms']:.1f} p99 {result['p99_itl_ms']:.1f} ms",
        f"TPOT p50 {result['median_tpot_ms']:.2f} ms",
    ]
    if result["goodput_share"] is not None:
        parts.append(f"good {result['goodput_share']:.1%}")
    if "server_cpu_us_per_token" in result:
        parts.append(f"server {result['server_cpu_us_per_token']:.1f} us/token")
    if result["late_sends"]:
        parts.append(f"{result['late_sends']} sent late (max {result['max_late_send_ms']:.0f} ms)")
    parts += [f"{count} x {kind}" for kind, count in result["errors_by_kind"].items()]
    return f"{result['label']}: " + ", ".join(parts)


def _about(options: Options, date: str) -> dict[str, Any]:
    return {
        "date": date,
        "label": options.label or options.target,
        "backend": options.target,
        "endpoint_type": options.target,
        "model_id": options.model,
        "num_prompts": options.sessions * options.turns,
        "request_rate": options.rate if options.open_loop else "inf",
        "burstiness": options.burstiness,
        "max_concurrency": None if options.open_loop else options.concurrency,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "options": msgspec.to_builtins(options) | {"key": "given" if options.key else ""},  # never the key itself
    }
