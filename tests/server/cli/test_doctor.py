"""The doctor names what is wrong in words, and exits with 1 when anything is."""

import socket
from pathlib import Path

import pytest

from server.cli.doctor import report
from server.settings import BadSetting, load
from tests.redis_server import Server
from tests.whole.process import free_port

Lines = pytest.CaptureFixture[str]


def words(folder: Path, *flags: str) -> list[str]:
    return ["--engine", "scripted", "--data-dir", str(folder), "--port", str(free_port()), *flags]


def test_all_is_well(tmp_path: Path, capsys: Lines) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert report(load(words(tmp_path), {}), lambda: str(tmp_path)) == 0
    assert "Everything is in order." in capsys.readouterr().out


def test_a_port_in_use_is_named(tmp_path: Path, capsys: Lines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert report(load([*words(tmp_path), "--port", port], {}), lambda: str(tmp_path)) == 1
    assert f"127.0.0.1:{port} cannot be used" in capsys.readouterr().out


def test_a_folder_without_a_model_is_named(tmp_path: Path, capsys: Lines) -> None:
    def path() -> str:
        raise BadSetting("MODEL", "'/x' has no config.json")

    assert report(load(words(tmp_path), {}), path) == 1
    assert "MODEL: '/x' has no config.json" in capsys.readouterr().out


def test_a_redis_that_does_not_answer_is_named(tmp_path: Path, capsys: Lines) -> None:
    settings = load(words(tmp_path, "--redis-url", "redis://127.0.0.1:1"), {})
    assert report(settings, lambda: str(tmp_path)) == 1
    assert "REDIS_URL: " in capsys.readouterr().out


def test_a_store_that_keeps_nothing_is_not_well(tmp_path: Path, capsys: Lines) -> None:
    assert report(load(words(tmp_path, "--store", "memory"), {}), lambda: str(tmp_path)) == 1
    assert "STORE: 'memory' is for measuring only" in capsys.readouterr().out


@pytest.mark.redis
def test_the_kind_of_redis_is_said(redis_server: Server, tmp_path: Path, capsys: Lines) -> None:
    report(load(words(tmp_path, "--redis-url", redis_server.url), {}), lambda: str(tmp_path))
    assert "REDIS_URL answers, is one Redis, and is fit for use" in capsys.readouterr().out
