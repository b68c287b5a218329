"""From samples to numbers. Pure. Names follow `vllm bench serve` where it has the same number; ours are added."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median, pstdev
from typing import Any

import msgspec

from bench.load.sample import Sample, rebuffer

PERCENTILES = (50, 90, 95, 99)
SLO_NAMES = ("ttft", "tpot", "e2el", "stall")
LATE = 0.01  # seconds from which on a send counts as late
BUCKET = 1.0  # seconds; of rates over time


class Rules(msgspec.Struct, frozen=True):
    """The limits that answers are judged by."""

    slos: Mapping[str, float] = {}  # milliseconds by name
    stall: float = 0.25  # seconds without text that a reader notices
    reading: float = 10.0  # tokens per second of a reader


def percentile(values: Sequence[float], rank: float) -> float:
    """Linear between the two nearest; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = (len(ordered) - 1) * rank / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Mean, median, deviation, percentiles and maximum in milliseconds, as `p99_ttft_ms` and so on."""
    values = [value * 1000 for value in seconds]
    plain = {"mean": fmean(values), "median": median(values), "std": pstdev(values)} if values else {}
    ranks = {f"p{rank}": percentile(values, rank) for rank in PERCENTILES}
    largest = {"max": max(values, default=0.0)}
    zeros = dict.fromkeys(("mean", "median", "std"), 0.0)
    return {f"{word}_{name}_ms": value for word, value in (zeros | plain | ranks | largest).items()}


def good(sample: Sample, slos: Mapping[str, float]) -> bool:
    """Whether an answer keeps every promise, given in milliseconds."""
    seconds = {"ttft": sample.ttft, "tpot": sample.tpot, "e2el": sample.latency, "stall": sample.stall}
    return all(seconds[name] * 1000 <= limit for name, limit in slos.items())


def summary(samples: Sequence[Sample], began: float, rules: Rules) -> dict[str, Any]:
    """All numbers of a measurement that began at `began` and ended with its last sample."""
    done = [sample for sample in samples if sample.error is None]
    duration = max((sample.ended for sample in samples), default=began) - began
    return (
        _counts(samples, done, duration)
        | _rates(done, began, duration, rules)
        | _times(done)
        | _stalls(done, rules)
        | _sends(samples)
    )


def _counts(samples: Sequence[Sample], done: Sequence[Sample], duration: float) -> dict[str, Any]:
    return {
        "duration": duration,
        "completed": len(done),
        "failed": len(samples) - len(done),
        "errors_by_kind": dict(Counter(sample.error for sample in samples if sample.error is not None)),
        "total_input_tokens": sum(sample.input_tokens for sample in done),
        "total_output_tokens": sum(sample.output_tokens for sample in done),
        "total_events": sum(len(sample.stamps) for sample in done),
    }


def _rates(done: Sequence[Sample], began: float, duration: float, rules: Rules) -> dict[str, Any]:
    seconds = duration or 1.0
    tokens_in = sum(sample.input_tokens for sample in done)
    tokens_out = sum(sample.output_tokens for sample in done)
    kept = sum(good(sample, rules.slos) for sample in done)
    return {
        "request_throughput": len(done) / seconds,
        "output_throughput": tokens_out / seconds,
        "total_token_throughput": (tokens_in + tokens_out) / seconds,
        "request_goodput": kept / seconds if rules.slos else None,
        "goodput_share": kept / len(done) if rules.slos and done else None,
        "slos_ms": dict(rules.slos),
        "max_output_tokens_per_s": max(token_rate(done, began), default=0.0),
        "max_concurrent_requests": peak(done),
    }


def _times(done: Sequence[Sample]) -> dict[str, float]:
    return (
        spread("ttft", [sample.ttft for sample in done])
        | spread("tpot", [sample.tpot for sample in done if sample.output_tokens > 1])
        | spread("itl", [gap for sample in done for gap in sample.gaps])
        | spread("e2el", [sample.latency for sample in done])
    )


def _stalls(done: Sequence[Sample], rules: Rules) -> dict[str, Any]:
    stalls = [sample.stall for sample in done]
    stalled = sum(stall > rules.stall for stall in stalls)
    return spread("stall", stalls) | {
        "stall_limit_ms": rules.stall * 1000,
        "stalled_share": stalled / len(done) if done else 0.0,
        "reading_tokens_per_s": rules.reading,
        "mean_rebuffer_ratio": fmean(rebuffer(sample, rules.reading) for sample in done) if done else 0.0,
    }


def _sends(samples: Sequence[Sample]) -> dict[str, Any]:
    late = [sample.late for sample in samples]
    connecting = spread("connecting", [sample.connecting for sample in samples if not sample.turn])
    return spread("late_send", late) | {"late_sends": sum(seconds > LATE for seconds in late)} | connecting


def token_rate(done: Iterable[Sample], began: float, bucket: float = BUCKET) -> list[float]:
    """Tokens per second in each bucket since the beginning; an answer's tokens are spread over its events."""
    counts: defaultdict[int, float] = defaultdict(float)
    for sample in done:
        each = sample.output_tokens / len(sample.stamps) if sample.stamps else 0.0
        for stamp in sample.stamps:
            counts[int((stamp - began) / bucket)] += each
    return [counts[index] / bucket for index in range(max(counts, default=-1) + 1)]


def peak(done: Iterable[Sample]) -> int:
    """The most requests that were under way at once."""
    edges = sorted(edge for sample in done for edge in ((sample.sent, 1), (sample.ended, -1)))
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most
