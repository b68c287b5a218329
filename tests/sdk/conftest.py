"""The official SDK against a node of ours."""

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from tests.server.conftest import empty, nodes, redis_server, served, slow
from tests.serving import Served

__all__ = ["empty", "nodes", "redis_server", "served", "slow"]


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    async with made(served) as client:
        yield client


def made(served: Served) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="unused", base_url=served.http, max_retries=0)
