"""A setting that cannot work on this machine is one line that names it, and status 2."""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.cli.doctor import report
from server.cli.machine import check_folder, listen, model_path, prepare_folder
from server.cli.main import main
from server.settings import BadSetting, Settings, load
from tests.whole.process import ROOT, free_port


def settings(**given: str) -> Settings:
    flags = {"engine": "scripted", **given}
    return load([word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)], {})


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("in the way")
    return folder / "file"


FOLDERS: dict[str, Callable[[Path], str]] = {
    "a file": lambda folder: str(a_file(folder)),
    "below a file": lambda folder: str(a_file(folder) / "data"),
    "a device": lambda folder: "/dev/null",
    "below a device": lambda folder: "/dev/null/data",
    "a name that is too long": lambda folder: str(folder / ("x" * 300)),
    "a path that is too long": lambda folder: str(folder / ("x/" * 3000)),
    "a null byte": lambda folder: f"{folder}/a\0b",
    "where nothing can be made": lambda folder: "/proc/throughline",
    "a broken link": lambda folder: str(broken_link(folder)),
    "a link to itself": lambda folder: str(loop(folder) / "data"),
}


def broken_link(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "gone" / "away")
    return folder / "link"


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


@pytest.mark.parametrize("case", FOLDERS)
def test_an_impossible_data_folder(tmp_path: Path, case: str) -> None:
    with pytest.raises(BadSetting, match=r"^DATA_DIR: ") as caught:
        prepare_folder(settings(data_dir=FOLDERS[case](tmp_path)))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(**_: object) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(BadSetting, match=os.strerror(code)):
        prepare_folder(settings(data_dir=str(tmp_path)))


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(BadSetting, match="DATA_DIR"):
        prepare_folder(settings())


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "with blanks" / "grün \u2028 x"
    assert check_folder(settings(data_dir=str(folder))) == folder
    assert not folder.exists()
    assert prepare_folder(settings(data_dir=str(folder))) == folder
    assert check_folder(settings(data_dir=str(folder))) == folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "case", [case for case in FOLDERS if case not in {"where nothing can be made", "a broken link"}]
)
def test_the_doctor_names_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    bad = settings(data_dir=FOLDERS[case](tmp_path), port=str(free_port()))
    assert report(bad, lambda: str(tmp_path)) == 1
    assert "BAD  Redis    DATA_DIR: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "x" * 70, "a..b", "300.1.1.1", "[::1]", "1.2.3.4", "a\0b", "::g", "/"]
)
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(BadSetting, match=r"^HOST: ") as caught:
        listen(settings(host=host, port=str(free_port())))
    assert "Unknown error" not in str(caught.value)


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadSetting, match=r"^PORT: .*in use"):
        listen(settings(port=str(taken.getsockname()[1])))


def test_an_address_of_the_sixth_version(tmp_path: Path) -> None:
    with listen(settings(host="::1", port=str(free_port()))) as listener:
        assert listener.family is socket.AF_INET6


MODELS: dict[str, Callable[[Path], str]] = {
    "no folder": lambda folder: str(folder / "gone"),
    "an empty folder": str,
    "a file": lambda folder: str(a_file(folder)),
    "a null byte": lambda folder: "./a\0b",
    "a path that is too long": lambda folder: "/" + "x" * 300,
    "a configuration that is a folder": lambda folder: with_config(folder, None),
    "a configuration that is no JSON": lambda folder: with_config(folder, b"{"),
    "a configuration that is no text": lambda folder: with_config(folder, b"\xff\xfe"),
}


def with_config(folder: Path, content: bytes | None) -> str:
    path = folder / "config.json"
    path.mkdir() if content is None else path.write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("case", MODELS)
def test_a_folder_that_holds_no_model(tmp_path: Path, case: str) -> None:
    with pytest.raises(BadSetting, match=r"^MODEL: ") as caught:
        model_path(settings(model=MODELS[case](tmp_path)))
    assert len(str(caught.value)) < 400


def test_a_model_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(BadSetting, match=r"^MODEL: .*Permission denied"):
        model_path(settings(model=str(tmp_path)))


def test_names_on_the_hub_are_left_to_the_hub() -> None:
    assert model_path(settings(model="Qwen/Qwen3-0.6B")) == "Qwen/Qwen3-0.6B"


# -- the whole program -----------------------------------------------------------------------------------------------

PROGRAMS: list[tuple[str, dict[str, str]]] = [
    ("DATA_DIR", {"DATA_DIR": "/dev/null"}),
    ("DATA_DIR", {"DATA_DIR": "/dev/null/a\nb\x1b[2J"}),
    ("DATA_DIR", {"DATA_DIR": "{folder}/lock"}),
    ("DATA_DIR", {"DATA_DIR": "{folder}/log"}),
    ("PORT", {"PORT": "70000"}),
    ("PORT", {"PORT": "eighty"}),
    ("HOST", {"HOST": "no-such-host.invalid"}),
    ("HOST", {"HOST": "x" * 70}),
    ("MODEL", {"MODEL": "/no/such/folder", "ENGINE": "vllm"}),
    ("REDIS_URL", {"REDIS_URL": "redis:/localhost"}),
    ("REDIS_URL", {"REDIS_URL": "redis://localhost:port"}),
    ("REDIS_URL", {"REDIS_URL": "redis://user:hunter/2@localhost:6379"}),
    ("REDIS_URL", {"REDIS_URL": "redis://[::1"}),
    ("REDIS_URL", {"REDIS_URL": "redis://localhost/name"}),
    ("REDIS_URL", {"REDIS_URL": "redis://localhost?no_such_option=1"}),
    ("REDIS_URL", {"REDIS_URL": "redis+cluster://localhost:port"}),
    ("REDIS_URL", {"REDIS_URL": "redis+sentinel://localhost"}),
    ("ALLOWED_ORIGINS", {"ALLOWED_ORIGINS": "example.com"}),
    ("API_KEYS", {"API_KEYS": "ann:hunter 2"}),
]


@pytest.mark.parametrize(("name", "environment"), PROGRAMS)
def test_the_program_ends_with_one_line(tmp_path: Path, name: str, environment: dict[str, str]) -> None:
    (tmp_path / "lock" / "redis.lock").mkdir(parents=True)
    (tmp_path / "log" / "redis.log").mkdir(parents=True)
    given = {key: value.format(folder=tmp_path) for key, value in environment.items()}
    base = {"ENGINE": "scripted", "DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port()), "LOG_FORMAT": "json"}
    ended = subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=ROOT, env={**os.environ, **base, **given}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = [line for line in (ended.stdout + ended.stderr).split("\n") if line]
    assert ended.returncode == 2, lines
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"throughline: {name}: ")
    assert lines[0].isprintable()
    assert "hunter" not in lines[0]


def test_a_line_end_in_a_setting_does_not_end_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "scripted", "--data-dir", "/dev/null/a\nb"]) == 2
    assert capsys.readouterr().err == "throughline: DATA_DIR: '/dev/null/a\\nb' cannot be used: Not a directory\n"


def test_a_model_s_configuration_is_read_as_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ä"}))
    assert model_path(settings(model=str(tmp_path))) == str(tmp_path)
