"""The real engine on the demo model, started once for all tests here that ask for `vllm_engine`.

Tests that use it run in the session's event loop: `pytest.mark.asyncio(loop_scope="session")`.
"""

from collections.abc import AsyncIterator

import pytest_asyncio

from engine.vllm import VllmEngine
from tests.engine.real import MODEL, OPTIONS, require_vllm


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def vllm_engine() -> AsyncIterator[VllmEngine]:
    """It ends with these tests: those of whole nodes start engines of their own."""
    require_vllm()
    engine = VllmEngine(MODEL, "demo", OPTIONS)
    await engine.start()
    yield engine
    await engine.close()
