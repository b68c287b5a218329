"""Two nodes on one Redis: who goes on with what, and when."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest

from engine.base import Params, Prompt
from engine.scripted import Levers, ScriptedEngine
from server.node.node import NodeState
from server.store.errors import StoreDown
from server.store.redis.client import Client
from server.store.types import TurnRef
from tests.server.conftest import Nodes
from tests.server.peer import PATIENCE, Event, Peer, client, final, numbered, numbers, said, socket, text_of
from tests.serving import Served
from tests.waiting import until

ASK = "[tokens=300]"


@asynccontextmanager
async def two(nodes: Nodes, *engines: ScriptedEngine) -> AsyncIterator[tuple[Served, Served]]:
    """Each knows that the other lives. The first is slow: what is done to it comes before its turn ends."""
    first, second = engines or (ScriptedEngine(rate=25), ScriptedEngine(rate=400))
    async with nodes(first) as a, nodes(second) as b:
        for one, other in ((a, b), (b, a)):
            await until(lambda one=one, other=other: sees(one, other), "they know each other")  # type: ignore[misc]
        yield a, b


def sees(one: Served, other: Served) -> bool:
    note = one.node.detector.nodes.get(other.node.owner)
    return note is not None and note.state == "ready"


async def uncut(nodes: Nodes, ask: str = ASK) -> str:
    async with nodes() as served, socket(served) as peer:
        return text_of(await peer.answer(ask))


async def through(
    nodes: Nodes, served: Served, change: Callable[[str], Awaitable[None]], *, after: int = 10
) -> list[Event]:
    """All events of a turn on `served` that is changed in its middle, seen from one socket there."""
    async with socket(served) as peer:
        await peer.ask(ASK)
        seen = [await peer.next() for _ in range(after)]
        await change(seen[0]["response"]["id"])
        return numbered([*seen, *await peer.turn()])


def check(events: list[Event], text: str) -> None:
    assert numbers(events) == list(range(len(events)))
    assert said(events) == text_of(final(events)) == text
    assert [event["type"] for event in events].count("response.in_progress") == 1


async def test_a_draining_node_hands_over_and_its_viewers_see_no_seam(nodes: Nodes) -> None:
    text = await uncut(nodes)
    async with two(nodes) as (a, b):

        async def end(id: str) -> None:
            a.node.begin_drain()
            await a.node.scheduler.offer_all()
            await a.node.heartbeater.beat()
            await until(lambda: b.node.scheduler.running, "the other one runs it")
            await until(lambda: not a.node.scheduler.running, "this one was fenced")

        check(await through(nodes, a, end), text)


async def test_drain_ends_when_others_have_taken_everything(nodes: Nodes) -> None:
    async with two(nodes, ScriptedEngine(rate=60), ScriptedEngine(rate=60)) as (a, b), client(a) as http:
        ask = {"input": "[hang@20]", "background": True}
        made = [(await http.post("responses", json=ask)).json() for _ in range(4)]
        async with asyncio.timeout(PATIENCE):
            await a.running.drain(10 * PATIENCE)
        assert not a.node.scheduler.running
        ids = {each["id"] for each in made}
        await until(lambda: {ref.id for ref in b.node.scheduler.running} == ids, "the other one runs them all")


async def test_drain_finishes_alone(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=400)) as served, socket(served) as peer:
        await peer.ask("[tokens=100]")
        await peer.until("response.output_text.delta")
        await served.running.drain(10.0)
        events = await peer.turn()
        assert final(events)["status"] == "completed"
        assert await peer.closed() == 1012


async def test_what_time_does_not_let_finish_is_given_back(nodes: Nodes) -> None:
    async with nodes(ScriptedEngine(rate=50)) as served, client(served) as http:
        made = (await http.post("responses", json={"input": "[hang@5]", "background": True})).json()
        await served.running.drain(0.1)
        (turn,) = await served.node.resources.store.unfinished_turns(0)
        assert (turn.ref.id, turn.lease, served.node.scheduler.running) == (made["id"], None, {})
        refused = await http.post("responses", json={"input": "x"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_overloaded")


async def test_a_dead_engine_s_turns_go_on_at_the_neighbour(nodes: Nodes) -> None:
    text = await uncut(nodes)
    async with two(nodes) as (a, b):
        engine = a.engine
        assert isinstance(engine, ScriptedEngine)

        async def die(id: str) -> None:
            engine.die("a test killed it")

        check(await through(nodes, a, die), text)
        assert (a.node.state, a.node.error, b.node.state) == ("failed", "a test killed it", "ready")


async def test_a_node_that_is_silent_is_dead_and_a_zombie_writes_nothing(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heart stops, its pen does not: the first append after the claim is refused."""
    text = await uncut(nodes)
    async with two(nodes) as (a, b):

        async def silence(id: str) -> None:
            async def mute(*_: object) -> None:
                raise StoreDown("mute")

            monkeypatch.setattr(a.node.resources.store, "beat", mute)
            await until(lambda: b.node.scheduler.running, "the other one runs it")
            await until(lambda: not a.node.scheduler.running, "the zombie was fenced")

        check(await through(nodes, a, silence), text)


async def test_a_stale_verdict_fences_nobody(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the orphan waits for a slot its owner comes back, and the heir has not heard of it."""
    async with two(nodes, ScriptedEngine(rate=25), ScriptedEngine(slots=1)) as (a, b), client(b) as http:
        hanging = (await http.post("responses", json={"input": "[hang@1]", "background": True})).json()["id"]
        await until(lambda: b.node.scheduler.running, "the heir has no slot")

        async def mute(*_: object) -> None:
            raise StoreDown("mute")

        async with socket(a) as peer:
            await peer.ask("[hang@60]")
            seen = await peer.until("response.output_text.delta")
            with monkeypatch.context() as silence:
                silence.setattr(a.node.resources.store, "beat", mute)
                await until(lambda: len(b.node.scheduler.queue) == 1, "the orphan waits for a slot")
            monkeypatch.setattr(b.node.resources.store, "beat", mute)
            await a.node.heartbeater.beat()
            assert a.node.owner in b.node.detector.dead_nodes()
            await http.post(f"responses/{hanging}/cancel")
            await until(lambda: b.node.scheduler.is_idle and not b.node.scheduler.queue, "the heir has looked again")
            (ref,) = a.node.scheduler.running
            turn = await a.node.resources.store.turn(ref)
            assert turn is not None
            assert (turn.lease, turn.claims) == (a.node.scheduler.running[ref].lease, 0)
            await peer.send("throughline:cancel", response_id=seen[0]["response"]["id"])
            assert final(await peer.turn())["status"] == "cancelled"


async def test_a_queue_is_everybody_s(nodes: Nodes) -> None:
    engines = ScriptedEngine(slots=1, rate=50), ScriptedEngine(slots=4, rate=0)
    async with two(nodes, *engines) as (a, b), client(a) as http:
        await http.post("responses", json={"input": "[hang@1]", "background": True})
        waiting = [(await http.post("responses", json={"input": "[hang@1]", "background": True})).json() for _ in "ab"]
        await until(lambda: len(b.node.scheduler.running) == 2, "the free one helps")
        assert {ref.id for ref in b.node.scheduler.running} == {each["id"] for each in waiting}
        for each in waiting:
            await http.post(f"responses/{each['id']}/cancel")
        await until(lambda: not b.node.scheduler.running, "a stop reaches the one who runs it")


async def test_a_stop_reaches_another_node_before_its_first_token(nodes: Nodes) -> None:
    async with two(nodes) as (a, b), client(a) as http, client(b) as other:
        made = (await http.post("responses", json={"input": "[first=3000]", "background": True})).json()
        ended = (await other.post(f"responses/{made['id']}/cancel")).json()
        assert ended["status"] == "cancelled"
        await until(lambda: not a.node.scheduler.running, "the slot is free")


async def test_a_turn_that_is_viewed_elsewhere_only_goes_on(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(rate=5)
    async with two(nodes, engine, ScriptedEngine(rate=60)) as (a, b):
        presence, counted = a.node.presence, list[bool]()
        take = presence.on_remote_report

        def count(ref: TurnRef, reports: int) -> bool:
            counted.append(take(ref, reports))
            return counted[-1]

        monkeypatch.setattr(presence, "on_remote_report", count)
        b.running.reconciler.interval = b.running.reconciler.report_seconds = 0.1
        b.node.cluster_changed.set()  # the pause that runs is the old one
        async with socket(a) as peer:
            await peer.ask("[tokens=150]", store=False)
            id = (await peer.next())["response"]["id"]
            async with socket(b, f"?resume={id}&starting_after=0") as other:
                await other.next()
                presence.grace = 1.5
                await peer.socket.close()
                await until(lambda: counted.count(True) == 2, "nobody watched it here, and somebody there, twice")
                engine.rate = 0
                assert final(await other.turn())["status"] == "completed"


async def test_a_turn_that_is_ours_and_does_not_run_is_given_back_and_run(nodes: Nodes) -> None:
    """As after a claim whose answer was lost for good."""
    async with two(nodes) as (a, b), socket(a) as peer:
        await peer.ask("[hang@3]")
        await peer.until("response.output_text.delta")
        ((ref, runner),) = a.node.scheduler.running.items()
        assert runner.task is not None
        runner.task.cancel()
        await until(lambda: ref in a.node.scheduler.running or ref in b.node.scheduler.running, "somebody goes on")


async def test_a_poison_turn_is_given_up_and_takes_no_neighbour_along(nodes: Nodes) -> None:
    """It kills three engines before its first token. The answer beside it ends well."""
    text = await uncut(nodes)
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(nodes(ScriptedEngine(rate=300))) for _ in range(4)]
        await until(lambda: all(sees(one, two) for one in served for two in served if one is not two), "all know all")
        http, last = [await stack.enter_async_context(client(one)) for one in (served[0], served[3])]
        made = [
            (await http.post("responses", json={"input": ask, "background": True})).json() for ask in (ASK, "[die@0]")
        ]
        beside, poison = await asyncio.gather(*(end_of(last, each["id"]) for each in made))
        assert (poison["status"], poison["error"]["code"]) == ("failed", "cannot_continue")
        assert text_of(beside) == text
        assert [one.node.state for one in served].count(NodeState.FAILED) == 3


async def end_of(http: httpx2.AsyncClient, id: str) -> Event:
    async with asyncio.timeout(PATIENCE):
        while True:
            response: Event = (await http.get(f"responses/{id}")).json()
            if response["status"] not in {"queued", "in_progress"}:
                return response
            await asyncio.sleep(0.05)


# -- prompts that are rendered again -----------------------------------------------------------------------------

PAST = ("The first. " * 30 + "[tokens=40]", "The second. " * 30 + "[tokens=40]")
CONTEXT = {"truncated": 800}  # tokens: the first question does not fit any more
WHOLE = {"fork"}  # whose history others may change while the turn runs


async def after_two(served: Served, peer: Peer, how: str) -> dict[str, Any]:
    """Two turns, and what makes the next one continue them."""
    async with client(served) as http:
        within = {"conversation": (await http.post("conversations", json={})).json()["id"]}
    common: dict[str, Any] = {"store": how not in {"unkept", "kept at last"}}
    common["truncation"] = "auto" if how == "truncated" else "disabled"
    if how not in {"conversation", "fork"}:
        within = {}
    first = await peer.answer(PAST[0], **common, **within)
    second = await peer.answer(PAST[1], **common, **(within or {"previous_response_id": first["id"]}))
    last = common | {"store": how != "unkept"}
    return last | (within if how == "conversation" else {"previous_response_id": second["id"]})


Change = Callable[[Served, TurnRef], Awaitable[None]]


async def third(nodes: Nodes, how: str, change: Change, *engines: ScriptedEngine) -> list[Event]:
    """All events of a turn that continues two others, on a node to which something happens meanwhile."""
    context = CONTEXT.get(how, 1 << 17)
    engines = engines or (ScriptedEngine(rate=400, context=context), ScriptedEngine(rate=400, context=context))
    async with two(nodes, *engines) as (a, _), socket(a) as peer:
        continues = await after_two(a, peer, how)
        if change is not nothing:
            engines[0].levers = Levers(hang=100)  # here alone, so that it ends after the change
        await peer.ask(ASK, **continues)
        seen = await peer.until_said(100)
        (ref,) = a.node.scheduler.running
        await change(a, ref)
        return numbered([*seen, *await peer.turn()])


async def nothing(_: Served, __: TurnRef) -> None:
    pass


async def die(served: Served, _: TurnRef) -> None:
    assert isinstance(served.engine, ScriptedEngine)
    served.engine.die("a test killed it")


async def record_of(served: Served, ref: TurnRef) -> dict[str, bytes]:
    turn = await served.node.resources.store.turn(ref)
    assert turn is not None
    return turn.record


@pytest.mark.parametrize("how", ["chain", "conversation", "fork", "unkept", "kept at last", "truncated"])
async def test_another_node_reads_the_very_same_prompt(nodes: Nodes, how: str) -> None:
    """The scripted engine's answer is another one where a byte of the prompt is."""

    async def end(served: Served, ref: TurnRef) -> None:
        assert ("prompt" in await record_of(served, ref)) == (how in WHOLE)
        await die(served, ref)

    whole = await third(nodes, how, nothing)
    cut = await third(nodes, how, end)
    check(cut, text_of(final(whole)))
    assert final(cut)["usage"]["input_tokens"] == final(whole)["usage"]["input_tokens"]
    assert (final(cut)["usage"]["input_tokens"] < 800) == (how == "truncated")


async def test_who_helps_with_the_queue_renders_what_it_takes(nodes: Nodes) -> None:
    text = text_of(final(await third(nodes, "chain", nothing)))
    async with two(nodes, ScriptedEngine(slots=1), ScriptedEngine(slots=4)) as (a, _), socket(a) as peer:
        continues = await after_two(a, peer, "chain")
        async with client(a) as http:
            hanging = (await http.post("responses", json={"input": "[hang@1]", "background": True})).json()
            await until(lambda: a.node.scheduler.running, "its only slot is taken")
            answer = await peer.answer(ASK, **continues)
            assert (text_of(answer), {ref.id for ref in a.node.scheduler.running}) == (text, {hanging["id"]})
            await http.post(f"responses/{hanging['id']}/cancel")


async def test_the_response_before_it_may_be_deleted_meanwhile(nodes: Nodes) -> None:
    async def delete(served: Served, ref: TurnRef) -> None:
        turn = await served.node.resources.store.turn(ref)
        assert turn is not None
        async with client(served) as http:
            for id in await before(http, ref.id):
                assert (await http.delete(f"responses/{id}")).status_code == 200
        await die(served, ref)

    check(await third(nodes, "chain", delete), text_of(final(await third(nodes, "chain", nothing))))


async def before(http: httpx2.AsyncClient, id: str) -> list[str]:
    """The responses that this one continues."""
    found: list[str] = []
    while (id := (await http.get(f"responses/{id}")).json()["previous_response_id"]) is not None:
        found.append(id)
    return found


async def test_a_prompt_with_a_clock_in_it_is_kept(nodes: Nodes) -> None:
    first, second = ScriptedEngine(rate=400), OtherDay(rate=400)
    first.model = second.model = msgspec.structs.replace(first.model, renders_alike=False)
    check(await third(nodes, "chain", die, first, second), text_of(final(await third(nodes, "chain", nothing))))


async def test_a_prompt_that_reads_differently_now_ends_the_turn(nodes: Nodes) -> None:
    events = await third(nodes, "chain", die, ScriptedEngine(rate=400), OtherDay(rate=400))
    assert final(events)["error"]["code"] == "cannot_continue"
    assert said(events) == text_of(final(events)) != ""


async def test_a_history_that_is_gone_ends_the_turn(nodes: Nodes, empty: str) -> None:
    async def lose(served: Served, ref: TurnRef) -> None:
        admin = Client(empty)
        await admin.call("DEL", *await admin.call("KEYS", "*:items:*"))
        await admin.close()
        await die(served, ref)

    events = await third(nodes, "chain", lose)
    assert final(events)["error"]["code"] == "cannot_continue"
    assert said(events) == text_of(final(events)) != ""


class OtherDay(ScriptedEngine):
    """Its template says what day it is."""

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        return await super().render([{"role": "system", "content": "It is Monday."}, *messages], params, salt)
