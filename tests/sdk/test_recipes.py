"""The code blocks of docs/protocol.md, run as they stand by Python and by Node, through what they are there for."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine.scripted import ScriptedEngine
from tests.requirements import missing
from tests.server.conftest import Nodes
from tests.server.peer import client, socket, text_of
from tests.server.wire import wired
from tests.serving import Served
from tests.whole.balancer import balanced
from tests.whole.client import connected, said
from tests.whole.process import Program
from tests.whole.test_two_nodes import pair

__all__ = ["pair"]
pytestmark = pytest.mark.sdk
DOCS = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
ADDRESS, MODEL, PROMPT = "http://127.0.0.1:8000/v1", "throughline-demo", "Tell me a long story."
LONG = f"{PROMPT} [tokens=300]"  # the only change besides the address and the model: there must be a middle
RUN = {"python": (sys.executable, "recipe.py"), "js": ("node", "recipe.mjs")}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the official JavaScript SDK."""
    folder = tmp_path_factory.mktemp("npm")
    if not installed(folder, "openai@6", "ws@8"):
        missing("npm cannot install openai: no JavaScript recipe ran")
    return folder


def installed(folder: Path, *names: str) -> bool:
    """Whether npm could install these there: it may be absent or without a network."""
    words = ["--no-audit", "--no-fund", "--fetch-retries", "1"]
    if not os.access(Path.home(), os.W_OK):
        words += ["--cache", str(folder / "cache")]
    try:
        run = subprocess.run(["npm", "install", *words, "--prefix", str(folder), *names], timeout=90, cwd=folder)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


@pytest.fixture(params=sorted(RUN))
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(language: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the recipe finds what it imports."""
    return tmp_path if language == "python" else Path(request.getfixturevalue("packages"))


def recipe(language: str, base: str, model: str) -> str:
    code: str
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    for old, new in ((ADDRESS, base), (MODEL, model), (PROMPT, LONG)):
        assert code.count(old) == 1
        code = code.replace(old, new)
    return code


class Running:
    """A recipe at work. `printed` grows."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = b""

    async def read(self, more: int) -> None:
        """So many bytes more."""
        assert self.process.stdout is not None
        self.printed += await self.process.stdout.readexactly(more)

    async def end(self) -> str:
        """Everything it printed, once it has ended well."""
        rest, wrong = await self.process.communicate()
        assert (self.process.returncode, wrong.decode()) == (0, "")
        return (self.printed + rest).decode()


async def shown(folder: Path, language: str, code: str, *changes: Callable[[], Awaitable[object]]) -> str:
    """What the recipe prints when after every 200 bytes of it something happens."""
    program, file = RUN[language]
    (folder / file).write_text(code)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, file, cwd=folder, stdout=pipe, stderr=pipe)
    running = Running(process)
    try:
        async with asyncio.timeout(60):
            for change in changes:
                await running.read(200)
                await change()
            return await running.end()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def turns(served: Served) -> int:
    """How many ended here."""
    async with client(served) as http:
        metrics = (await http.get(served.http.removesuffix("/v1") + "/metrics")).text
    return sum(int(float(n)) for n in re.findall(r"^throughline_turns_total\{.*\} (\S+)$", metrics, re.MULTILINE))


async def test_a_recipe_goes_on_after_lost_connections(nodes: Nodes, folder: Path, language: str) -> None:
    """Reset in the middle, told to leave, reset again: the same text as without all that, generated once."""
    engine = ScriptedEngine(rate=100)
    async with nodes(engine) as served:
        async with wired(served.port) as wire:

            async def cut() -> None:
                wire.cut()

            async def leave() -> None:
                await served.running.sockets.close(1012, "this node is stopping")

            text = await shown(folder, language, recipe(language, wire.http, "scripted"), cut, leave, cut)
        assert await turns(served) == 1
        async with socket(served) as peer:
            assert text == text_of(await peer.answer(LONG)) != ""


async def test_a_recipe_goes_on_after_the_death_of_a_node(pair: list[Program], folder: Path, language: str) -> None:
    async def kill() -> None:
        await asyncio.to_thread(pair[0].end, signal.SIGKILL)

    async with balanced(pair) as balancer:
        text = await shown(folder, language, recipe(language, balancer.http, "scripted"), kill)
    async with connected(pair[1].ws) as peer:
        await peer.create(LONG)
        assert text == said(await peer.events()) != ""
