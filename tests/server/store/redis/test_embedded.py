"""A redis-server of one's own."""

import asyncio
import os
import signal
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from server.store.errors import StoreError
from server.store.redis import embedded as module
from server.store.redis.client import Client
from server.store.redis.embedded import embedded, find_redis_server, intact
from server.store.redis.store import connect
from server.store.types import WriteStatus
from tests.redis_server import BINARIES, binary
from tests.server.store.make import append, new, ref

pytestmark = pytest.mark.redis


@pytest.fixture(autouse=True)
def needs_one() -> None:
    """Some redis-server is here, or the test is skipped (fails where CI is set)."""
    if not any(BINARIES.values()):
        binary("redis7")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


async def pid_of(url: str) -> int:
    client = Client(url)
    info = await client.call("INFO", "server")
    await client.close()
    return int(info.decode().split("process_id:")[1].split()[0])


@pytest.mark.parametrize("name", ["redis62", "redis7"])
async def test_data_survive_a_restart_and_a_kill_of_the_server(tmp_path: Path, name: str) -> None:
    async with embedded(tmp_path, binary=binary(name)) as url:
        store = connect(url)
        await store.create(new())
        await asyncio.sleep(1.1)  # everysec
        os.kill(await pid_of(url), signal.SIGKILL)
        await store.close()
    async with embedded(tmp_path, binary=binary(name)) as url:
        store = connect(url)
        assert await store.append([append()]) != []
        await store.close()
    async with embedded(tmp_path, binary=binary(name)) as url:
        store = connect(url)
        assert (await store.read(ref(), -1, 9)).last_seq == 2
        assert (await store.append([append()]))[0].status is WriteStatus.DUPLICATE
        await store.close()


async def test_second_server_on_the_same_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TRIES", 1)
    async with embedded(tmp_path):
        with pytest.raises(StoreError, match=r"DATA_DIR") as caught:
            async with embedded(tmp_path):
                pass
        assert str(tmp_path) in str(caught.value)


async def test_server_ends_with_its_context(tmp_path: Path) -> None:
    async with embedded(tmp_path) as url:
        pid = await pid_of(url)
        folder = Path(url.removeprefix("unix://")).parent
    assert gone(pid)
    assert not folder.exists()
    assert "Redis is now ready to exit" in (tmp_path / module.LOG_NAME).read_text()


async def test_data_survive_a_kill_of_the_parent(tmp_path: Path) -> None:
    """The child gets SIGTERM: not even the last write is lost, though the append-only file is synced once a second."""
    program = textwrap.dedent(
        f"""
        import asyncio, pathlib, sys
        from server.store.redis.embedded import embedded
        from server.store.redis.store import connect
        from tests.server.store.make import new
        async def main():
            async with embedded(pathlib.Path({str(tmp_path)!r})) as url:
                await connect(url).create(new())
                print(url, flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
        """
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    url = (await parent.stdout.readline()).decode().strip()
    pid = await pid_of(url)
    parent.kill()
    await parent.wait()
    async with embedded(tmp_path) as again:
        assert gone(pid)
        store = connect(again)
        assert await store.turn(ref()) is not None
        await store.close()


async def test_long_temporary_folder_is_not_used_for_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with embedded(tmp_path / "data") as url:
        assert len(url.removeprefix("unix://")) <= module.MAX_SOCKET_PATH


async def test_broken_data_are_reported_with_the_log_file(tmp_path: Path) -> None:
    for name in ("appendonly.aof", "appendonlydir"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(StoreError, match=r"redis\.log"):
        async with embedded(tmp_path):
            pass


def test_find_refuses_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_redis_server()
    monkeypatch.setattr(module, "_version", lambda _: (6, 0))
    with pytest.raises(StoreError, match=r"6\.2"):
        find_redis_server()


@pytest.mark.parametrize("name", ["redis62", "redis7"])
async def test_data_are_intact_unless_redis_itself_was_killed(tmp_path: Path, name: str) -> None:
    assert intact(tmp_path)
    async with embedded(tmp_path, binary=binary(name)):
        assert not intact(tmp_path)  # it runs
    assert intact(tmp_path)
    async with embedded(tmp_path, binary=binary(name)) as url:
        os.kill(await pid_of(url), signal.SIGKILL)
    assert not intact(tmp_path)
