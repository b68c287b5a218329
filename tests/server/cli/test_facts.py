"""Sizes are read from a model's folder, and the rest from the machine, without loading anything."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from server.cli.doctor import report
from server.cli.facts import collector_trouble, machine_facts, memory_facts, model_facts, option
from server.cli.machine import DEMO
from server.cli.needs import GIB, ModelFacts
from server.settings import load
from tests.whole.process import free_port

PLAIN = {"num_hidden_layers": 4, "num_attention_heads": 8, "hidden_size": 512, "dtype": "bfloat16"}
PER_TOKEN = 2 * 4 * 8 * 64 * 2


def folder(at: Path, config: dict[str, Any], files: dict[str, int], total: int | None = None) -> Path:
    (at / "config.json").write_text(json.dumps(config))
    for name, size in files.items():
        with (at / name).open("wb") as file:
            file.truncate(size)  # a sparse file: as large as it says, on a small disk
    if total is not None:
        (at / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}}))
    return at


CACHES: list[tuple[dict[str, Any], list[str], int | None]] = [
    ({}, [], PER_TOKEN),
    ({"num_key_value_heads": 2}, [], PER_TOKEN // 4),
    ({"head_dim": 128}, [], PER_TOKEN * 2),
    ({"dtype": "float32"}, [], PER_TOKEN * 2),
    ({}, ["--kv-cache-dtype", "fp8"], PER_TOKEN // 2),
    ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, [], 4 * 2 * 576),
    ({"layer_types": ["sliding_attention"] * 3 + ["full_attention"]}, [], PER_TOKEN // 4),
    ({"sliding_window": 1024}, [], None),
    ({"sliding_window": 1024, "use_sliding_window": False}, [], PER_TOKEN),
    ({"num_hidden_layers": None}, [], None),
    ({"num_hidden_layers": "four"}, [], None),
]


@pytest.mark.parametrize(("more", "options", "expected"), CACHES, ids=[str(n) for n in range(len(CACHES))])
def test_the_cache_of_a_token(tmp_path: Path, more: dict[str, Any], options: list[str], expected: int | None) -> None:
    made = folder(tmp_path, PLAIN | more, {})
    assert model_facts(made, options).token_cache == expected


def test_weights_are_what_the_index_says_or_the_files_have(tmp_path: Path) -> None:
    made = folder(tmp_path, PLAIN, {"a.safetensors": 3 * GIB, "b.safetensors": GIB, "c.bin": GIB})
    assert model_facts(made, []).weights == 4 * GIB
    folder(tmp_path, PLAIN, {}, total=6 * GIB)
    assert model_facts(made, []) == ModelFacts(6 * GIB, PER_TOKEN, None, missing=2 * GIB)


def test_a_folder_that_says_nothing(tmp_path: Path) -> None:
    assert model_facts(tmp_path, []) == ModelFacts()
    (tmp_path / "config.json").write_text("[]")
    (tmp_path / "model.safetensors.index.json").write_text('{"metadata": 7}')
    assert model_facts(tmp_path, []) == ModelFacts()


def test_the_context_is_the_operator_s_or_the_model_s(tmp_path: Path) -> None:
    made = folder(tmp_path, {"text_config": PLAIN | {"max_position_embeddings": 4096}}, {})
    assert model_facts(made, []).context == 4096
    assert model_facts(made, ["--max-model-len=512"]).context == 512
    assert model_facts(made, ["--max_model_len", "512"]).context == 512


def test_the_demo_model_s_own_sizes() -> None:
    facts = model_facts(DEMO, [])
    assert (facts.token_cache, facts.context, facts.missing) == (2 * 5 * 4 * 64 * 2, 2048, 0)


def test_options_of_vllm() -> None:
    options = ["-tp", "2", "--pipeline-parallel-size=2", "--gpu-memory-utilization", "0.5", "--last"]
    found = memory_facts(options, [("A", 80 * GIB), ("B", 0)], on_gpu=True)
    assert (found.gpus, found.shares, found.gpu_share) == ((80 * GIB,), 4, 0.5)
    assert memory_facts([], [("A", 80 * GIB)], on_gpu=False).gpus == ()
    assert option(options, "--last") is None


def test_this_machine(tmp_path: Path) -> None:
    facts = machine_facts(tmp_path / "not" / "there", embedded_redis=True)
    assert facts.disk_free
    assert facts.descriptors
    assert facts.overcommit in {0, 1, 2, None}
    assert memory_facts([], [], on_gpu=False).main > 0


class Collector(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        self.send_response(self.status if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_collector_that_answers(collector: str) -> None:
    assert collector_trouble(collector) is None
    assert collector_trouble(f"{collector}/elsewhere") == "status 404"


def test_a_collector_that_is_not_there() -> None:
    assert collector_trouble(f"http://127.0.0.1:{free_port()}") == "Connection refused"


def test_a_collector_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.cli.facts.COLLECTOR_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert collector_trouble(f"http://127.0.0.1:{listener.getsockname()[1]}") == "timed out"


def test_a_model_that_is_too_large_is_not_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = tmp_path / "model", tmp_path / "data"
    model.mkdir()
    folder(model, PLAIN, {f"{n}.safetensors": 1 << 40 for n in range(8)})
    settings = load(["--data-dir", str(data), "--port", str(free_port()), "--model", str(model)], {})
    assert report(settings, lambda: str(model)) == 1
    assert "BAD  Memory " in capsys.readouterr().out
    assert not data.exists()
