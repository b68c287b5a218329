"""A whole node that keeps nothing: what measurements of the log's cost compare with."""

import os
from pathlib import Path

import httpx2

from server.settings import load
from tests.serving import serving


async def test_a_node_without_redis_answers_and_remembers(tmp_path: Path) -> None:
    """The same answers, from the same code; nothing is written to the disk."""
    words = ["--engine", "scripted", "--store", "memory", "--data-dir", str(tmp_path)]
    async with serving(load(words, {})) as served, httpx2.AsyncClient(base_url=served.http) as client:
        made = (await client.post("/responses", json={"model": "scripted", "input": "Hello [tokens=9]"})).json()
        kept = (await client.get(f"/responses/{made['id']}")).json()
    assert made["status"] == "completed"
    assert made["usage"]["output_tokens"] == 10  # its end is one too
    assert kept["output"] == made["output"]
    assert os.listdir(tmp_path) == []
