"""Following a turn again: after a lost socket, from another tab, after its end, after a restart."""

import asyncio
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from server.store.redis.client import Client
from server.store.redis.keys import Keys
from server.store.types import TurnRef
from tests.server.conftest import Nodes
from tests.server.peer import Event, Peer, bearer, client, final, numbered, numbers, said, socket, sse, text_of
from tests.serving import Served
from tests.waiting import until

LONG = "[tokens=120]"


async def whole(served: Served, input: str = LONG, **fields: Any) -> list[Event]:
    async with socket(served) as peer:
        await peer.ask(input, **fields)
        return await peer.turn()


async def resumed(served: Served, id: str, query: str = "") -> list[Event]:
    async with socket(served, f"?resume={id}{query}") as peer:
        return await peer.turn()


async def test_every_position_of_a_finished_turn_gives_the_exact_rest(served: Served) -> None:
    events = await whole(served, "[tokens=40]")
    id = final(events)["id"]
    async with socket(served) as peer:
        for after in range(-1, len(events) - 1):
            place = {} if after < 0 else {"starting_after": after}
            await peer.send("throughline:resume", response_id=id, **place)
            first, *rest = await peer.turn()
            assert first["type"] == "throughline:resumed"
            assert (first["status"], first["last_sequence_number"]) == ("completed", len(events) - 1)
            assert rest == events[after + 1 :]


async def test_resume_behind_the_last_event_says_so_and_frees_the_lane(served: Served) -> None:
    events = await whole(served, store=False)
    id, last = final(events)["id"], len(events) - 1
    async with socket(served, f"?resume={id}&starting_after={last}") as peer:
        assert (await peer.next())["status"] == "completed"
        again = await peer.answer("more [tokens=2]", previous_response_id=id, store=False)
        assert again["usage"]["input_tokens"] > final(events)["usage"]["total_tokens"]


@pytest.mark.usefixtures("unmerged")
@pytest.mark.parametrize("cut", [0, 1, 3, 40, 100])
async def test_a_lost_socket_is_continued_by_another(nodes: Nodes, slow: ScriptedEngine, cut: int) -> None:
    async with nodes(slow) as served:
        async with socket(served) as peer:
            await peer.ask(LONG, stream_id="main")
            seen = [await peer.next() for _ in range(cut + 1)]
        rest = await resumed(served, seen[0]["response"]["id"], f"&starting_after={cut}")
        assert numbers(seen) + numbers(rest) == list(range(len(seen) + len(numbered(rest))))
        assert said([*seen, *rest]) == text_of(final(rest))
        assert {event["stream_id"] for event in rest} == {"main"}


async def test_fifty_reconnections_in_one_answer(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served:
        async with socket(served) as peer:
            await peer.ask("[tokens=200]")
            seen = [await peer.next()]
        id = seen[0]["response"]["id"]
        while seen[-1]["type"] != "response.completed":
            async with socket(served, f"?resume={id}&starting_after={len(seen) - 1}") as peer:
                assert (await peer.next())["type"] == "throughline:resumed"
                seen += await few(peer, 4)
        assert numbers(seen) == list(range(len(seen)))
        assert said(seen) == text_of(final(seen))


async def few(peer: Peer, count: int) -> list[Event]:
    """At most so many events, none after the last."""
    events = [await peer.next()]
    while len(events) < count and events[-1]["type"] != "response.completed":
        events.append(await peer.next())
    return events


async def test_viewers_of_one_turn_see_the_same(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served, socket(served) as peer:
        await peer.ask(LONG)
        created = await peer.next()
        id = created["response"]["id"]
        others = [asyncio.create_task(resumed(served, id)) for _ in range(3)]
        mine = [created, *await peer.turn()]
        for other in await asyncio.gather(*others):
            assert other[1:] == mine
        assert len(slow.running) == 0


async def test_several_turns_are_resumed_by_one_handshake(nodes: Nodes, slow: ScriptedEngine) -> None:
    async with nodes(slow) as served:
        async with socket(served) as peer:
            await peer.ask(LONG, stream_id="a")
            await peer.ask(LONG, stream_id="b")
            created = [(await peer.until("response.created"))[-1] for _ in range(2)]
        query = "&".join(
            f"resume={event['response']['id']}&starting_after=0&stream_id=x{n}" for n, event in enumerate(created)
        )
        async with socket(served, f"?{query}") as peer:
            events: list[Event] = []
            while sum(event["type"] == "response.completed" for event in events) < 2:
                events.append(await peer.next())
        for lane in ("x0", "x1"):
            mine = [event for event in numbered(events) if event["stream_id"] == lane]
            assert numbers(mine) == list(range(1, len(mine) + 1))


@pytest.mark.parametrize("after", ["-1", "NaN", "1.5", "9" * 20, "%00", "0x1", "１"])
async def test_a_position_that_is_none(served: Served, after: str) -> None:
    events = await whole(served, "[tokens=2]")
    async with socket(served, f"?resume={final(events)['id']}&starting_after={after}") as peer:
        error = await peer.error()
        assert (error["status"], error["param"]) == (400, "starting_after")


async def test_a_position_above_the_log_is_lost_and_the_response_shown(served: Served) -> None:
    events = await whole(served, "[tokens=2]")
    *_, last = await resumed(served, final(events)["id"], "&starting_after=99")
    assert last["error"]["code"] == "stream_position_lost"
    assert last["response"] == final(events)


async def test_a_position_above_a_running_log_is_lost_without_a_second_generation(nodes: Nodes) -> None:
    engine = ScriptedEngine(rate=0)
    async with nodes(engine) as served, socket(served) as peer:
        await peer.ask("[hang@3]")
        id = (await peer.next())["response"]["id"]
        *_, last = await resumed(served, id, "&starting_after=5000")
        assert last["error"]["code"] == "stream_position_lost"
        assert len(engine.running) == 1


async def test_a_deleted_response_cannot_be_resumed(served: Served) -> None:
    id = final(await whole(served, "[tokens=2]"))["id"]
    async with client(served) as http:
        assert (await http.delete(f"responses/{id}")).json()["deleted"] is True
        assert (await http.get(f"responses/{id}")).status_code == 404
        assert (await http.delete(f"responses/{id}")).status_code == 404
    assert (await resumed(served, id))[-1]["error"]["code"] == "not_found"


async def test_an_expired_log_shows_the_stored_response(served: Served, empty: str) -> None:
    events = await whole(served, "[tokens=2]")
    id = final(events)["id"]
    keys, admin = Keys(), Client(empty)
    await admin.call("DEL", keys.turn("anonymous", id), keys.log("anonymous", id))
    await admin.close()
    (lost,) = await resumed(served, id)
    assert lost["error"]["code"] == "stream_position_lost"
    assert lost["response"] == final(events)
    async with client(served) as http:
        answer = await http.get(f"responses/{id}", params={"stream": "true", "starting_after": 1})
        assert (answer.status_code, answer.json()["response"]) == (404, final(events))
        assert (await http.get(f"responses/{id}")).json() == final(events)


async def test_an_unkept_turn_enters_the_memory_of_the_socket_that_resumes_it(
    nodes: Nodes, slow: ScriptedEngine
) -> None:
    async with nodes(slow) as served:
        async with socket(served) as peer:
            await peer.ask(LONG, store=False)
            id = (await peer.next())["response"]["id"]
        async with socket(served, f"?resume={id}&starting_after=0") as peer:
            first = final(await peer.turn())
            second = await peer.answer("[tokens=2]", store=False, previous_response_id=id)
            assert second["usage"]["input_tokens"] > first["usage"]["total_tokens"]


async def test_replay_over_http(served: Served) -> None:
    events = await whole(served)
    at = f"responses/{final(events)['id']}?stream=true&starting_after="
    async with client(served) as http:
        for after in (0, 1, 7, len(events) - 2, len(events) - 1):
            assert sse((await http.get(f"{at}{after}")).text) == events[after + 1 :]
        for bad in ("-1", "x", "9" * 16):
            assert (await http.get(at + bad)).status_code == 400


async def test_another_caller_sees_nothing(nodes: Nodes, slow: ScriptedEngine) -> None:
    """Whatever Bob names of Alice's does not exist, and is left as it was."""
    async with (
        nodes(slow, api_keys="alice:a,bob:b") as served,
        client(served, headers=bearer("a")) as alice,
        client(served, headers=bearer("b")) as bob,
        socket(served, additional_headers=bearer("b")) as peer,
    ):
        conversation = (await alice.post("conversations", json={"items": [{"role": "user", "content": "s"}]})).json()[
            "id"
        ]
        running = (await alice.post("responses", json={"input": "[hang@2]", "background": True})).json()["id"]
        for id in (running, "resp_never"):
            for answer in (
                await bob.get(f"responses/{id}"),
                await bob.get(f"responses/{id}?stream=true"),
                await bob.delete(f"responses/{id}"),
                await bob.post(f"responses/{id}/cancel"),
                await bob.get(f"responses/{id}/input_items"),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
            for type in ("throughline:resume", "throughline:cancel"):
                await peer.send(type, response_id=id)
                assert (await peer.error())["code"] == "not_found"
            await peer.ask("x", previous_response_id=id)
            assert (await peer.error())["code"] == "previous_response_not_found"
        for method, path in [
            ("GET", ""), ("DELETE", ""), ("POST", ""), ("GET", "/items"), ("POST", "/items"),
            ("GET", "/items/msg_x"), ("DELETE", "/items/msg_x"),
        ]:  # fmt: skip
            body = {"items": [{"role": "user", "content": "x"}]} if method == "POST" else None
            answer = await bob.request(method, f"conversations/{conversation}{path}", json=body)
            assert answer.status_code == 404, (method, path)
        await peer.ask("x", conversation=conversation)
        assert (await peer.error())["code"] == "not_found"
        assert (await bob.get("conversations")).json()["data"] == []
        assert len((await alice.get(f"conversations/{conversation}/items")).json()["data"]) == 1
        assert TurnRef("alice", running) in served.node.scheduler.running


async def test_a_restarted_node_goes_on_where_the_first_one_was_cut(nodes: Nodes, slow: ScriptedEngine) -> None:
    uncut = await complete_text(nodes)
    first = asyncio.Event()
    seen: list[Event] = []

    async def doomed() -> None:
        async with nodes(slow) as served, socket(served) as peer:
            await peer.ask("[tokens=300]", store=True)
            seen.extend([await peer.next() for _ in range(40)])
            first.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(doomed())
    await first.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with nodes(ScriptedEngine(rate=2000)) as served:
        served.node.detector.exclusive = True
        await served.running.reconciler.recover()
        rest = await resumed(served, seen[0]["response"]["id"], f"&starting_after={len(seen) - 1}")
        events = [*seen, *numbered(rest)]
        assert numbers(events) == list(range(len(events)))
        assert said(events) == text_of(final(events)) == uncut
        assert served.node.scheduler.taken_slots == 0 or await idle(served)


async def idle(served: Served) -> bool:
    await until(lambda: not served.node.scheduler.taken_slots, "the slot is free")
    return True


async def complete_text(nodes: Nodes) -> str:
    async with nodes() as served:
        return text_of(final(await whole(served, "[tokens=300]")))


async def test_orphans_wait_for_slots(nodes: Nodes) -> None:
    """More unfinished turns than slots: they run one after another, the oldest first, and all of them end."""
    ready, ids = asyncio.Event(), list[str]()

    async def doomed() -> None:
        async with nodes(ScriptedEngine(slots=8)) as served, client(served) as http:
            for _ in range(8):
                ids.append((await http.post("responses", json={"input": "[hang@2]", "background": True})).json()["id"])
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(doomed())
    await ready.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    engine = ScriptedEngine(slots=2)
    async with nodes(engine) as served, client(served) as http:
        served.node.detector.exclusive = True
        await served.running.reconciler.recover()
        await until(lambda: len(engine.running) == 2, "both slots are used")
        await until(
            lambda: (len(served.node.scheduler.running), len(served.node.scheduler.queue)) == (2, 6), "the others wait"
        )
        for id in ids:
            ended = (await http.post(f"responses/{id}/cancel")).json()
            assert (ended["id"], ended["status"]) == (id, "cancelled")
            assert len(engine.running) <= 2


async def test_a_turn_of_another_model_ends_with_a_code(nodes: Nodes) -> None:
    ready, ids = asyncio.Event(), list[str]()

    async def doomed() -> None:
        async with nodes() as served, client(served) as http:
            ids.append((await http.post("responses", json={"input": "[hang@9]", "background": True})).json()["id"])
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(doomed())
    await ready.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with nodes(ScriptedEngine(version="other")) as served:
        served.node.detector.exclusive = True
        await served.running.reconciler.recover()
        response = final(await resumed(served, ids[0]))
        assert (response["status"], response["error"]["code"]) == ("failed", "cannot_continue")
