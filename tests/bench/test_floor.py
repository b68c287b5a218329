"""The bare engine, for real."""

import json
from pathlib import Path

import pytest

from bench.compare.systems import Setup, floor
from bench.launch import started
from tests.engine.real import MODEL, require_vllm


@pytest.mark.vllm
def test_the_bare_engine_gives_what_it_was_asked_for(tmp_path: Path) -> None:
    require_vllm()
    setup = Setup(MODEL, streams=4, requests=8, output_tokens=8, prompt_words=4)
    path = tmp_path / "floor.json"
    with started(floor(setup, "floor", path), tmp_path) as running:
        assert running.process.wait(280) == 0, running.tail()
    loaded, single = json.loads(path.read_text()).values()
    assert (loaded["completed"], loaded["total_output_tokens"], loaded["max_concurrent_requests"]) == (8, 64, 4)
    assert (single["completed"], single["max_concurrent_requests"]) == (24, 1)
    assert loaded["engine_cpu_us_per_token"] > 0
    assert 0 < single["median_ttft_ms"] < single["median_e2el_ms"]
