"""The real engine on the demo model, started once for all tests that ask for `vllm_engine`.

Tests that use it run in the session's event loop: `pytest.mark.asyncio(loop_scope="session")`.
"""

import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from engine.vllm import VllmEngine
from tests.requirements import missing

MODEL = os.environ.get("TEST_MODEL") or str(Path(__file__).parents[2] / "engine" / "demo" / "model")
OPTIONS = ("--max-model-len", "1024")


def require_vllm() -> None:
    """Skip the test where vLLM is not installed; fail it where CI is set."""
    if importlib.util.find_spec("vllm") is None:
        missing("vllm is not installed: no test of the real engine ran")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm_engine() -> AsyncIterator[VllmEngine]:
    require_vllm()
    engine = VllmEngine(MODEL, "demo", OPTIONS)
    await engine.start()
    yield engine
    await engine.close()
