"""A redis-server of our own, and a few commands to hurt it with."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any

import hiredis

from bench.faults.process import POLL, NotReady, Program, find_program

COPY = "copy"
START = 30.0  # seconds that it may take to answer
PAGE = 1000  # keys or entries per call


class Redis:
    """On a TCP port, with an append-only file."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}"
        self.folder = folder
        self.folder.mkdir()
        path = find_program("redis-server")
        if path is None:
            raise NotReady("there is no redis-server on this machine")
        command = [path, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self.program = Program("redis-server", [*command, "--appendonly", "yes"], folder / "output", folder)

    async def start(self) -> None:
        """Start it and wait until its data is loaded."""
        await self.program.start()
        await self.program.ready(self._answers, 30.0)

    async def kill(self) -> None:
        """SIGKILL."""
        await self.program.end(signal.SIGKILL)

    def forget(self) -> None:
        """What it wrote, while it does not run."""
        for path in self.folder.glob("appendonly*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def remember(self) -> None:
        """Keep a copy of what it has written by now, the file's unfinished end too."""
        copy = self.folder / COPY
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.folder.glob("appendonly*"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / path.name)

    def go_back(self) -> None:
        """To the copy, while it does not run: what was acknowledged since then is lost."""
        self.forget()
        for path in (self.folder / COPY).iterdir():
            path.rename(self.folder / path.name)

    async def call(self, *words: str | bytes, seconds: float = 5.0) -> Any:
        """One command on a connection of its own. Raises OSError, TimeoutError, hiredis.ReplyError."""
        async with asyncio.timeout(seconds):
            reader, writer = await self._connect()
            try:
                writer.write(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub knows one word
                parser = hiredis.Reader()
                while (reply := parser.gets()) is False:
                    data = await reader.read(65536)
                    if not data:
                        raise ConnectionError("redis-server hung up")
                    parser.feed(data)
            finally:
                writer.transport.abort()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def logs(self) -> AsyncIterator[tuple[bytes, list[bytes]]]:
        """Every stream with the ids of its entries."""
        cursor = b"0"
        while True:
            cursor, keys = await self.call("SCAN", cursor, "TYPE", "stream", "COUNT", str(PAGE))
            for key in keys:
                yield key, [entry[0] for entry in await self.call("XRANGE", key, "-", "+")]
            if cursor == b"0":
                return

    async def _answers(self) -> bool:
        try:
            return bool(await self.call("PING", seconds=1.0) == b"PONG")
        except (OSError, TimeoutError, hiredis.ReplyError):
            return False


class OwnRedis(Redis):
    """The one that a node without REDIS_URL starts, keeps running and ends by itself."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir

    async def start(self) -> None:
        """Wait until the node has started it, as it is nobody else's to start."""
        until = perf_counter() + START
        while not await self._answers():
            if perf_counter() > until:
                raise NotReady("the node's own redis-server does not answer")
            await asyncio.sleep(POLL)

    async def kill(self) -> None:
        """SIGKILL, by the process id that it tells."""
        facts: bytes = await self.call("INFO", "server")
        os.kill(int(facts.partition(b"process_id:")[2].split()[0]), signal.SIGKILL)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = (self.folder / "redis.address").read_text()
        return await asyncio.open_unix_connection(address.removeprefix("unix://"))
