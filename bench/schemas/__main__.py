"""All schemas against running servers: `python -m bench.schemas --url http://127.0.0.1:8000 [--url ...]`.

Each round has an order of its own and goes to the next server, so that servers that were just started show whether an
answer depends on what was asked before.
"""

import argparse
import json
import random
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.schemas.judge import Outcome, Verdict, judge_answer, judge_refusal
from bench.schemas.table import Case, cases

AT_ONCE = 4  # requests
FAULTS = (Outcome.LOOSE, Outcome.WRONG)


def main() -> int:
    """The counts of each round; 1 for any fault, or an outcome that depends on the order."""
    options = _options()
    rounds: list[dict[str, Verdict]] = []
    for number in range(options.rounds):
        url = options.url[number % len(options.url)]
        order = random.Random(number).sample(cases(), len(cases()))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            verdicts = list(threads.map(lambda case, url=url: ask(url, case, options.tokens), order))
        rounds.append({verdict.name: verdict for verdict in verdicts})
        print(f"round {number + 1} on {url}: {_counts(verdicts)}")
        for verdict in verdicts:
            if verdict.outcome in FAULTS:
                print(f"  {verdict.outcome}: {verdict.name}: {verdict.detail[:300]}")
    differing = depends_on_order(rounds)
    print(f"{len(cases())} schemas, {len(differing)} with an outcome that depends on the order", *differing, sep="\n  ")
    if options.json:
        options.json.write_text(json.dumps([[*verdict] for each in rounds for verdict in each.values()], indent=1))
    return int(bool(differing) or any(verdict.outcome in FAULTS for each in rounds for verdict in each.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.schemas", description=__doc__)
    parser.add_argument("--url", action="append", help="of a server; several are taken in turn")
    parser.add_argument("--rounds", type=int, default=3, help="each in an order of its own")
    parser.add_argument("--tokens", type=int, default=300, help="an answer's limit")
    parser.add_argument("--json", type=Path, help="where all verdicts are written to")
    options = parser.parse_args()
    options.url = options.url or ["http://127.0.0.1:8000"]
    return options


def ask(url: str, case: Case, tokens: int) -> Verdict:
    """One schema to one server."""
    shape = {"type": "json_schema", "name": "answer", "schema": case.schema}
    body = {
        "input": f"Write JSON: {case.name}.",
        "text": {"format": shape},
        "max_output_tokens": tokens,
        "temperature": 0,
        "store": False,
    }
    request = urllib.request.Request(
        f"{url}/v1/responses", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            response: dict[str, Any] = json.load(reply)
    except urllib.error.HTTPError as error:
        said = json.load(error)["error"]
        if error.code != 400:
            return Verdict(case.name, Outcome.WRONG, f"{error.code} {said['message']}")
        return judge_refusal(case, said.get("param"), said["message"])
    if response["status"] not in ("completed", "incomplete"):
        return Verdict(case.name, Outcome.WRONG, json.dumps(response.get("error")))
    parts = [part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return judge_answer(case, "".join(parts), whole=response["status"] == "completed")


def depends_on_order(rounds: Sequence[dict[str, Verdict]]) -> list[str]:
    """Names of schemas that were followed in one round and refused in another."""
    first = rounds[0]
    return [
        name
        for name, verdict in first.items()
        if any((each[name].outcome is Outcome.REFUSED) != (verdict.outcome is Outcome.REFUSED) for each in rounds)
    ]


def _counts(verdicts: Sequence[Verdict]) -> str:
    counted = Counter(verdict.outcome for verdict in verdicts)
    return ", ".join(f"{counted[outcome]} {outcome}" for outcome in Outcome)


if __name__ == "__main__":
    raise SystemExit(main())
