"""What all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

REAL = {"vllm": "real vLLM", "redis": "real Redis", "browser": "a real browser", "sdk": "the official SDK"}


def ran_on(passed: Sequence[pytest.TestReport]) -> str:
    """How many tests passed on each real thing: a run that had none of it must not look like one that had."""
    counts = {what: sum(mark in report.keywords for report in passed) for mark, what in REAL.items()}
    return ", ".join(f"{count} on {what}" for what, count in counts.items())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    terminalreporter.write_line(f"passed: {len(passed)}, of these {ran_on(passed)}")
