"""The process that compiles on trial: what it says, and what becomes of it."""

import importlib.util
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.real import require_vllm

if importlib.util.find_spec("vllm") is not None:
    from llguidance import LLMatcher

    from engine.vllm.grammars import TryOutProcess
    from engine.vllm.tryout import TOO_COMPLEX

pytestmark = pytest.mark.vllm
PATIENCE = 110  # seconds for one grammar


@pytest.fixture(scope="module")
def tryout() -> Iterator["TryOutProcess"]:
    require_vllm()
    process = TryOutProcess(patience=PATIENCE)
    yield process
    process.close()


def refusal(tryout: "TryOutProcess", schema: dict[str, Any]) -> str | None:
    return tryout.refusal(LLMatcher.grammar_from_json_schema(json.dumps(schema)))


def test_a_schema_that_can_be_followed_is_not_refused(tryout: "TryOutProcess") -> None:
    assert refusal(tryout, {"type": "object", "properties": {"a": {"type": "string"}}}) is None


def test_one_that_cannot_is_refused_in_a_sentence(tryout: "TryOutProcess") -> None:
    assert refusal(tryout, {"type": "string", "pattern": "^(a"}) == "unclosed group"


def test_too_many_choices_at_once_are_too_complex(tryout: "TryOutProcess") -> None:
    assert refusal(tryout, {"type": "object", "properties": {f"p{i}": {} for i in range(1200)}}) == TOO_COMPLEX


def test_one_that_takes_for_ever_ends_the_process_and_not_the_next(tryout: "TryOutProcess") -> None:
    start = time.monotonic()
    patterns = [{"type": "string", "pattern": f".*{chr(97 + i)}.*{chr(98 + i)}.*"} for i in range(20)]
    assert refusal(tryout, {"allOf": patterns}) == TOO_COMPLEX
    assert time.monotonic() - start < PATIENCE / 2  # it ends by what it uses of the processor
    assert refusal(tryout, {"type": "null"}) is None


def test_one_that_crashes_the_library_is_too_complex(tryout: "TryOutProcess") -> None:
    links = {f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(20_000)}
    schema = {"$defs": {**links, "d20000": {"type": "null"}}, "$ref": "#/$defs/d0"}
    assert refusal(tryout, schema) == TOO_COMPLEX
    assert refusal(tryout, {"type": "null"}) is None


def test_a_process_that_was_killed_is_replaced(tryout: "TryOutProcess") -> None:
    tryout.close()
    assert refusal(tryout, {"type": "null"}) is None
