"""The last line of a run."""

from __future__ import annotations

import pytest

from tests.conftest import ran_on


def report(*marks: str) -> pytest.TestReport:
    return pytest.TestReport("test", ("", 0, ""), dict.fromkeys(marks, 1), "passed", None, "call")


def test_a_test_counts_for_each_real_thing_it_ran_on() -> None:
    passed = [report("redis", "vllm"), report("redis"), report()]
    assert ran_on(passed) == "1 on real vLLM, 2 on real Redis, 0 on a real browser, 0 on the official SDK"
