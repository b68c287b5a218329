"""A redis-server of one's own."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from server.settings import BadSetting
from server.store.errors import StoreError
from server.store.redis import child, data_folder
from server.store.redis import embedded as module
from server.store.redis.child import find_redis_server
from server.store.redis.client import Client
from server.store.redis.data_folder import is_intact
from server.store.redis.embedded import embedded
from server.store.redis.store import connect
from server.store.types import WriteStatus
from tests.redis_server import BINARIES, binary
from tests.server.store.make import append, new, ref
from tests.waiting import until

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
    async with embedded(tmp_path, binary=binary(name)) as own:
        url = own.url
        store = connect(url)
        await store.create(new())
        await asyncio.sleep(1.1)  # everysec
        os.kill(await pid_of(url), signal.SIGKILL)
        await store.close()
    async with embedded(tmp_path, binary=binary(name)) as own:
        url = own.url
        store = connect(url)
        assert await store.append([append()]) != []
        await store.close()
    async with embedded(tmp_path, binary=binary(name)) as own:
        url = own.url
        store = connect(url)
        assert (await store.read(ref(), -1, 9)).last_seq == 2
        assert (await store.append([append()]))[0].status is WriteStatus.DUPLICATE
        await store.close()


async def test_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        with pytest.raises(StoreError, match=r"DATA_DIR") as caught:
            async with embedded(tmp_path, patience=0.1):
                pass
        assert str(tmp_path) in str(caught.value)


async def test_server_ends_with_its_context(tmp_path: Path) -> None:
    async with embedded(tmp_path) as own:
        url = own.url
        pid = await pid_of(url)
        folder = Path(url.removeprefix("unix://")).parent
    assert gone(pid)
    assert not folder.exists()
    assert "Redis is now ready to exit" in (tmp_path / data_folder.LOG_NAME).read_text()


async def test_data_survive_a_kill_of_the_parent(tmp_path: Path) -> None:
    """The child gets SIGTERM: not even the last write is lost, though the append-only file is synced once a second."""
    program = textwrap.dedent(
        f"""
        import asyncio, pathlib, sys
        from server.store.redis.embedded import embedded
        from server.store.redis.store import connect
        from tests.server.store.make import new
        async def main():
            async with embedded(pathlib.Path({str(tmp_path)!r})) as own:
                url = own.url
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
    async with embedded(tmp_path) as own:
        assert gone(pid)
        store = connect(own.url)
        assert await store.turn(ref()) is not None
        await store.close()


async def test_long_temporary_folder_is_not_used_for_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with embedded(tmp_path / "data") as own:
        url = own.url
        assert len(url.removeprefix("unix://")) <= module.MAX_SOCKET_PATH


async def test_broken_data_are_reported_with_the_log_file(tmp_path: Path) -> None:
    for name in ("appendonly.aof", "appendonlydir"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(StoreError, match=r"redis\.log"):
        async with embedded(tmp_path):
            pass


def test_find_refuses_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_redis_server()
    monkeypatch.setattr(child, "_version", lambda _: "6.0.16")
    with pytest.raises(StoreError, match=r"6\.2"):
        find_redis_server()


@pytest.mark.parametrize("name", ["redis62", "redis7"])
async def test_data_are_intact_unless_redis_itself_was_killed(tmp_path: Path, name: str) -> None:
    assert is_intact(tmp_path)
    async with embedded(tmp_path, binary=binary(name)):
        assert not is_intact(tmp_path)  # it runs
    assert is_intact(tmp_path)
    async with embedded(tmp_path, binary=binary(name)) as own:
        url = own.url
        os.kill(await pid_of(url), signal.SIGKILL)
    assert not is_intact(tmp_path)


async def test_it_is_started_again_at_the_same_address_when_it_is_killed(tmp_path: Path) -> None:
    restarts: list[None] = []
    async with embedded(tmp_path, on_restart=lambda: restarts.append(None)) as own:
        store = connect(own.url)
        await store.create(new())
        for _ in range(2):
            before = await pid_of(own.url)
            os.kill(before, signal.SIGKILL)
            await until(lambda pid=before: gone(pid), "it is dead")  # type: ignore[misc]
            await answering(own.url)
            assert await pid_of(own.url) != before
        assert await store.turn(ref()) is not None
        await store.close()
    assert len(restarts) == 2
    assert not own.failed.is_set()


async def answering(url: str) -> None:
    client = Client(url)
    for _ in range(1000):
        try:
            await client.check()
        except StoreError:
            await asyncio.sleep(0.02)
        else:
            break
    await client.close()


async def test_it_says_so_when_it_cannot_be_started_again(tmp_path: Path) -> None:
    async with embedded(tmp_path) as own:
        spoil(tmp_path)
        os.kill(await pid_of(own.url), signal.SIGKILL)
        await asyncio.wait_for(own.failed.wait(), 60)
    assert "redis.log" in own.error


def spoil(folder: Path) -> None:
    for path in [*folder.glob("appendonly.aof"), *folder.glob("appendonlydir/*.manifest")]:
        path.write_text("nonsense")


def copied_back(tmp_path: Path, copy: Path) -> None:
    shutil.copytree(copy, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize("what", ["all", "data"])
async def test_an_older_copy_is_told_from_what_was_left(tmp_path: Path, what: str) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    async with embedded(folder) as own:
        await connect(own.url).create(new())
    shutil.copytree(folder, copy)
    if what == "data":
        for path in copy.glob("redis.*"):
            path.unlink()
    async with embedded(folder) as own:
        assert len(own.intact_runs()) == 1
    copied_back(folder, copy)
    async with embedded(folder) as own:
        assert own.intact_runs() == ()
    async with embedded(folder) as own:
        assert len(own.intact_runs()) == 1  # of the one before, and of none before the copy


async def test_without_its_mark_an_orderly_end_counts_as_none(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        pass
    (tmp_path / data_folder.CLEAN_NAME).unlink()
    async with embedded(tmp_path) as own:
        assert own.intact_runs() == ()


async def test_data_of_a_newer_redis_are_refused_by_name(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        pass
    state = data_folder.read_state(tmp_path)
    data_folder.write_state(tmp_path, data_folder.FolderState("99.1.2", state.runs))
    with pytest.raises(BadSetting, match=r"DATA_DIR.*99\.1\.2"):
        async with embedded(tmp_path):
            pass


async def test_a_folder_whose_data_were_removed_belongs_to_no_redis(tmp_path: Path) -> None:
    data_folder.write_state(tmp_path, data_folder.FolderState("99.1.2", ()))
    async with embedded(tmp_path) as own:
        assert await connect(own.url).turn(ref()) is None


async def test_nobody_else_may_read_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    before = os.umask(0)
    try:
        async with embedded(folder) as own:
            await connect(own.url).create(new())
            found = [folder, *data_folder_paths(folder)]
            assert [str(path) for path in found if path.stat().st_mode & 0o077] == []
    finally:
        os.umask(before)


def test_a_start_fails_by_a_stall_and_not_by_its_length() -> None:
    progress = child.LoadProgress(60.0, 0.0)
    assert not any(progress.is_stalled(loaded, 50.0 * loaded) for loaded in range(100))
    assert not progress.is_stalled(None, 50.0 * 99 + 59)
    assert progress.is_stalled(99, 50.0 * 99 + 61)
    assert child.LoadProgress(60.0, 0.0).is_stalled(None, 61.0)


async def test_a_command_uses_the_redis_of_the_node_that_runs(tmp_path: Path) -> None:
    async with embedded(tmp_path) as own:
        address = tmp_path / data_folder.ADDRESS_NAME
        assert (address.read_text(), address.stat().st_mode & 0o777) == (own.url, 0o600)
        async with module.opened(tmp_path, "first") as url:
            assert url == own.url
    assert not address.exists()


async def test_a_command_starts_redis_where_no_node_runs_and_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    async with module.opened(tmp_path, "first") as url:
        await pid_of(url)
        with pytest.raises(StoreError, match=rf"the command 'first' with process id {os.getpid()}"):
            async with module.opened(tmp_path, "second", patience=0.1):
                pass
        waiting = asyncio.create_task(_open_and_close(tmp_path))
    await waiting


async def _open_and_close(folder: Path) -> None:
    async with module.opened(folder, "third") as url:
        await pid_of(url)


def data_folder_paths(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))
