"""A node whose background work fails: it says so, it goes on with the rest, and is ready again when that is over."""

import asyncio

import httpx2
import pytest
from structlog.testing import capture_logs

from server.protocol.status import Status
from server.store.types import Turn
from tests.server.store.make import ref
from tests.serving import serving, settings_for
from tests.waiting import until


async def test_a_node_is_not_ready_while_a_loop_does_not_come_back() -> None:
    broken = True

    async def loop() -> None:
        if broken:
            raise ValueError("a bug")
        await asyncio.Event().wait()

    async with serving(settings_for("", store="memory")) as served, httpx2.AsyncClient() as http:
        url = served.http.removesuffix("/v1")
        assert (await http.get(f"{url}/readyz")).status_code == 200
        task = served.node.supervisor.start("a_loop", loop)
        await until(lambda: served.node.supervisor.lost, "it is lost")
        answer = await http.get(f"{url}/readyz")
        assert (answer.status_code, answer.json()["tasks"]["failing"]) == (503, ["a_loop"])
        assert 'throughline_task_failures_total{task="a_loop"}' in (await http.get(f"{url}/metrics")).text.replace(
            'otel_scope_name="throughline",', ""
        ).replace('otel_scope_schema_url="",', "").replace('otel_scope_version="",', "")
        broken = False
        await until(lambda: not served.node.supervisor.lost, "it is back", seconds=60)
        assert (await http.get(f"{url}/readyz")).status_code == 200
        await task.end()


async def test_a_turn_that_cannot_be_judged_keeps_the_reconciler_from_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    async def repair(turn: Turn) -> bool:
        if turn.ref.id == "resp_bad":
            raise TypeError("what nobody expected")
        judged.append(turn.ref.id)
        return False

    async def unfinished(partition: int) -> list[Turn]:
        return [Turn(ref(id), Status.QUEUED, 1, None, False, True, None, {}) for id in ("resp_bad", "resp_good")]

    async with serving(settings_for("", store="memory")) as served:
        reconciler = served.running.reconciler
        monkeypatch.setattr(reconciler, "_repair", repair)
        monkeypatch.setattr(served.node.resources.store, "unfinished_turns", unfinished)
        with capture_logs() as lines:
            await reconciler.check_all()
            await reconciler.check_all()
    assert judged[:2] == ["resp_good", "resp_good"]
    assert [line["name"] for line in lines if line["event"] == "record_unreadable"] == ["resp_bad"]
