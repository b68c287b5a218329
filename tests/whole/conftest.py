"""One real server for all tests that only talk to it."""

from collections.abc import Iterator

import pytest

from tests.browser.conftest import browser, chromium, context
from tests.engine.real import require_vllm
from tests.whole.process import Program, program

__all__ = ["browser", "chromium", "context"]


@pytest.fixture(scope="session")
def real() -> Iterator[Program]:
    """vLLM, the demo model and a Redis of its own, as `make serve` starts them."""
    require_vllm()
    with program() as server:
        server.start()
        server.wait("/readyz")
        yield server


@pytest.fixture
def scripted() -> Iterator[Program]:
    """The same program with a made-up model at 60 tokens per second, for what has to be slow."""
    with program("--engine", "scripted", "--scripted-rate", "60") as server:
        server.start()
        server.wait("/readyz")
        yield server
