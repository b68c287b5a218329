"""The report: one HTML file that needs nothing else. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bench.load.charts import LOOK, cumulative, curve, histogram
from bench.load.metrics import token_rate
from bench.load.sample import Sample

STYLE = (
    """
:root { color-scheme: light dark; --text: #1c2430; --soft: #5b6675; --back: #ffffff; --card: #f4f6f9; --edge: #dde2e9;
  --ink: #2463c5; --wash: #2463c526; --mark: #c2410c; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --soft: #9aa5b4; --back: #12161c; --card: #1b212a;
  --edge: #2c3541; --ink: #7aa9f7; --wash: #7aa9f72e; --mark: #fdba74; --bad: #fda29b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 28px 20px 60px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 15px; margin: 0 0 6px; } p { margin: 4px 0; }
h1, p { overflow-wrap: anywhere; } time { white-space: nowrap; }
.soft { color: var(--soft); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(44%, 200px), 1fr)); gap: 12px;
  margin: 22px 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); gap: 12px; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 14px 16px; min-width: 0; }
.tile b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--edge); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; }
svg { width: 100%; height: auto; display: block; }
details { margin-top: 22px; } pre { overflow-x: auto; font-size: 12px; }
@media (max-width: 560px) { body { padding: 20px 12px 40px; } .card { padding: 12px; } .tile b { font-size: 20px; }
  table { font-size: 11px; } th, td { padding: 5px 3px; } th:first-child, td:first-child { white-space: normal; } }
"""
    + LOOK
)
TIMES = (
    ("ttft", "first token"),
    ("itl", "between events"),
    ("tpot", "per token"),
    ("e2el", "whole answer"),
    ("stall", "longest gap"),
    ("connecting", "connecting"),
    ("late_send", "sent late"),
)
COLUMNS = ("mean", "p50", "p90", "p95", "p99", "max")


def page(result: dict[str, Any], samples: Sequence[Sample], began: float) -> str:
    """The HTML of the report."""
    title = f"Load: {escape(str(result['label']))}"
    about = f"{result['model_id']} on {result['machine']},"
    done = [sample for sample in samples if sample.error is None]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}</style></head><body>
<h1>{title}</h1><p class="soft">{escape(about)} <time>{_moment(result["date"])}</time></p>
<p class="soft">{escape(_asked(result))}</p>{_errors(result)}
<div class="tiles">{"".join(_tile(value, name) for value, name in _tiles(result))}</div>
<div class="charts">{"".join(_charts(result, done, began))}</div>
<div class="card wide"><h2>Milliseconds</h2>{_table(result)}</div>
<details class="card"><summary>All numbers</summary><pre>{escape(json.dumps(result, indent=1))}</pre></details>
</body></html>
"""


def _tiles(result: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield f"{result['output_throughput']:,.0f}", "tokens per second"
    yield f"{result['request_throughput']:,.1f}", "answers per second"
    yield f"{_figure(result['median_ttft_ms'])} ms", "first token, median"
    yield f"{_figure(result['p99_ttft_ms'])} ms", "first token, p99"
    yield f"{result['stalled_share']:.1%}", f"answers with a gap above {result['stall_limit_ms']:.0f} ms"
    yield (
        f"{result['mean_rebuffer_ratio']:.1%}",
        f"of reading at {result['reading_tokens_per_s']:g} tokens/s is waiting",
    )
    if result["goodput_share"] is not None:
        yield f"{result['goodput_share']:.1%}", f"good: {_slos(result['slos_ms'])}"
    if "server_cpu_us_per_token" in result:
        yield f"{result['server_cpu_us_per_token']:.1f} us", "server CPU per token"
        yield f"{result['server_rss_bytes'] / 2**20:,.0f} MiB", "server memory"
    yield f"{result['client_cpu_share']:.0%}", "of a core used by each client process"


def _slos(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{dict(TIMES)[name]} \u2264 {limit:,g}\u00a0ms" for name, limit in limits.items())


def _tile(value: str, name: str) -> str:
    return f'<div class="card tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'


def _charts(result: dict[str, Any], done: Sequence[Sample], began: float) -> Iterable[str]:
    ttfts = [sample.ttft * 1000 for sample in done]
    itls = [gap * 1000 for sample in done for gap in sample.gaps]
    stalls = [sample.stall * 1000 for sample in done]
    bucket = 0.25 if result["duration"] < 20 else 1.0
    rates = token_rate(done, began, bucket)
    whole = rates[:-1] or rates  # the last bucket is cut by the end
    yield _chart("Time to first token", histogram(ttfts, _marks(result, "ttft"), "ms", "answers"))
    yield _chart("Time between events", histogram(itls, _marks(result, "itl"), "ms", "events"))
    yield _chart(
        "Throughput over time", curve([(index * bucket, rate) for index, rate in enumerate(whole)], "s", "tokens/s")
    )
    limit = result["stall_limit_ms"]
    marks = {f"{limit:g} ms": limit} if limit <= max(stalls, default=0.0) else {}
    yield _chart("Longest gap of each answer", curve(cumulative(stalls), "ms", "% of answers", marks))


def _marks(result: dict[str, Any], name: str) -> dict[str, float]:
    values = {word: result[f"{word}_{name}_ms"] for word in ("p50", "p90", "p99")}
    return {f"{word} {_figure(value)}": value for word, value in values.items()}


def _chart(title: str, picture: str) -> str:
    return f'<div class="card"><h2>{escape(title)}</h2>{picture}</div>'


def _table(result: dict[str, Any]) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("", *COLUMNS))
    rows = "".join(
        f"<tr><td>{label}</td>"
        + "".join(f"<td>{_figure(result[f'{column}_{name}_ms'])}</td>" for column in COLUMNS)
        + "</tr>"
        for name, label in TIMES
    )
    return f"<table><tr>{heads}</tr>{rows}</table>"


def _figure(value: float) -> str:
    """Five digits at most below ten seconds, so that the table fits a phone."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def _moment(date: str) -> str:
    return date[:16].replace("T", " ") + " UTC" if date else "undated"


def _asked(result: dict[str, Any]) -> str:
    """A sentence that describes the load."""
    asked = result["options"]
    times = f"{asked['rate']:g} sessions per second" if asked["rate"] else "sessions at the times of a trace"
    load = f"{asked['concurrency']} sessions at once" if result["max_concurrency"] else times
    turns = f", each of {asked['turns']} turns" if asked["turns"] > 1 else ""
    return f"{load}{turns}, up to {result['max_concurrent_requests']} answers under way"


def _errors(result: dict[str, Any]) -> str:
    kinds = "; ".join(f"{count} x {kind}" for kind, count in result["errors_by_kind"].items())
    done = f"{result['completed']} answers in {result['duration']:.1f} s"
    return f"<p>{done}</p>" + (f'<p class="bad">{result["failed"]} failed: {escape(kinds)}</p>' if kinds else "")
