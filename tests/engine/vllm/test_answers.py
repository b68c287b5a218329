"""Answers of the real engine to ordinary schemas; the whole table is `python -m bench.schemas`."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import Mock, patch

import pytest

from bench.schemas.judge import Outcome, Verdict, judge_answer, judge_refusal
from bench.schemas.table import Case, cases
from engine.base import BadParameter, Finish, Format, Params
from engine.vllm import VllmEngine
from tests.engine.contract import Asking, text_of

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]
EVERY = 3  # of which one is asked here


@pytest.fixture
def asking(vllm_engine: VllmEngine) -> Asking:
    return Asking(vllm_engine)


async def verdict(asking: Asking, case: Case) -> Verdict:
    params = Params(max_tokens=200, temperature=0, format=Format("json_schema", case.schema))
    try:
        chunks = await asking.ask(await asking.prompt(f"Write JSON: {case.name}."), params)
    except BadParameter as error:
        return judge_refusal(case, error.name, error.reason)
    return judge_answer(case, text_of(chunks), whole=chunks[-1].finish is Finish.STOP)


async def test_each_is_followed_or_refused_by_name_in_any_order(asking: Asking) -> None:
    some = cases()[::EVERY]
    seen: list[dict[str, Outcome]] = []
    for seed in range(2):
        order = random.Random(seed).sample(some, len(some))
        verdicts = await asyncio.gather(*(verdict(asking, case) for case in order))
        assert [each for each in verdicts if each.outcome in (Outcome.LOOSE, Outcome.WRONG)] == []
        seen.append({each.name: each.outcome for each in verdicts})
    assert seen[0] == seen[1]
    assert sum(outcome is Outcome.VALID for outcome in seen[0].values()) > len(some) * 2 / 3


@pytest.mark.parametrize("name", ["a pattern that is none", "zod's email", "not", "A is B is A"])
async def test_what_cannot_be_followed_is_refused_by_name(asking: Asking, name: str) -> None:
    (case,) = (case for case in cases() if case.name == name)
    assert await verdict(asking, case) == Verdict(name, Outcome.REFUSED)


TWICE = {"type": "string", "pattern": "^a{1,1000}b{1,1000}$"}
HOSTILE: dict[str, Any] = {
    "200 patterns with counts": {"type": "object", "properties": {f"p{i}": TWICE for i in range(200)}},
    "8,000 optional properties": {"type": "object", "properties": {f"p{i}": {} for i in range(8000)}},
    "counts in counts": {"type": "string", "pattern": "^(([a-z]{1,30}){1,30}){1,29}$"},
    "patterns for one place": {"allOf": [{"type": "string", "pattern": f".*{chr(97 + i)}.*"} for i in range(24)]},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_schema_costs_the_others_nothing(asking: Asking, name: str) -> None:
    """Neither the event loop stands still, nor does the next schema wait for long."""
    usual, usually_late = await plain(asking, f"before {name}")
    hostile = asyncio.create_task(verdict(asking, Case(name, HOSTILE[name])))
    seconds, late = await plain(asking, name)
    assert seconds < 10 * (1 + usual)
    assert late < 0.5 + 5 * usually_late
    async with lateness() as measured:
        await hostile
    assert max(measured) < 0.5 + 5 * usually_late


async def plain(asking: Asking, name: str) -> tuple[float, float]:
    """How long an answer to an ordinary schema takes, and how late the loop was meanwhile at most, in seconds."""
    case = Case("plain", {"type": "object", "properties": {"a": {"enum": [name]}}, "required": ["a"]})
    start = time.perf_counter()
    async with lateness() as measured:
        assert (await verdict(asking, case)).outcome is Outcome.VALID
    return time.perf_counter() - start, max(measured)


@asynccontextmanager
async def lateness() -> AsyncIterator[list[float]]:
    """How late the event loop is in the block, measured many times a second."""
    late = [0.0]

    async def measure() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - before)

    measuring = asyncio.create_task(measure())
    yield late
    measuring.cancel()


async def test_the_same_schema_is_compiled_once(asking: Asking) -> None:
    prompt = await asking.prompt()
    params = Params(max_tokens=1, format=Format("json_schema", {"enum": ["compiled once"]}))
    with compilations() as compiled:
        for _ in range(20):
            await asking.engine.admit(prompt, params)
    assert compiled.call_count == 1


@contextmanager
def compilations() -> Iterator[Mock]:
    """Grammars that are tried out in the block."""
    from engine.vllm.grammars import TryOutProcess

    with patch.object(TryOutProcess, "refusal", autospec=True, side_effect=TryOutProcess.refusal) as spy:
        yield spy
