"""A turn costs the store as much at the end of a long conversation as at its beginning."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from server.store.redis.lua_call import LuaCall
from server.store.redis.store import RedisStore
from tests.server.conftest import Nodes
from tests.server.peer import Peer, client, socket
from tests.serving import Served

SAME = 24  # bytes: positions and times have more or fewer digits


class Bill:
    """What turns ask of the store, each with the bytes that were sent."""

    def __init__(self, store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items: list[tuple[str, int]] = []
        run, call = store._client.run, store._client.call

        async def counted_run(call: LuaCall[Any]) -> Any:
            self._note(call.script.name, call.parameters()[1:])
            return await run(call)

        async def counted_call(*words: Any) -> Any:
            self._note(words[0], words)
            return await call(*words)

        monkeypatch.setattr(store._client, "run", counted_run)
        monkeypatch.setattr(store._client, "call", counted_call)

    def _note(self, name: str, words: Sequence[Any]) -> None:
        if name not in {"beat", "list_unfinished_turns", "EVAL", "EVALSHA"}:
            self.items.append((name, sum(map(size, words))))


def size(word: Any) -> int:
    return len(word if isinstance(word, bytes) else str(word).encode())


async def bills(
    served: Served, monkeypatch: pytest.MonkeyPatch, talk: Callable[[Peer], Any], turns: int
) -> list[list[tuple[str, int]]]:
    assert isinstance(served.node.resources.store, RedisStore)
    bill = Bill(served.node.resources.store, monkeypatch)
    found = []
    async with socket(served) as peer:
        for _ in range(turns):
            bill.items.clear()
            await talk(peer)
            found.append(list(bill.items))
    return found


def check(found: list[list[tuple[str, int]]]) -> None:
    second, last = found[1], found[-1]
    assert [name for name, _ in last] == [name for name, _ in second]
    for (name, early), (_, late) in zip(second, last, strict=True):
        assert late - early < SAME, name


async def test_a_chain(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    before: dict[str, Any] = {}

    async def talk(peer: Peer) -> None:
        before["previous_response_id"] = (await peer.answer("Tell me more. " * 9, max_output_tokens=1, **before))["id"]

    async with nodes() as served:
        check(await bills(served, monkeypatch, talk, 40))


async def test_a_conversation(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes() as served, client(served) as http:
        id = (await http.post("conversations", json={})).json()["id"]

        async def talk(peer: Peer) -> None:
            await peer.answer("Tell me more. " * 9, max_output_tokens=1, conversation=id)

        check(await bills(served, monkeypatch, talk, 40))


async def test_an_unkept_chain_writes_its_history_once(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else has it: each turn's record holds all of it, for a minute after its end."""
    before: dict[str, Any] = {"store": False}

    async def talk(peer: Peer) -> None:
        before["previous_response_id"] = (await peer.answer("Tell me more. " * 9, max_output_tokens=1, **before))["id"]

    async with nodes() as served, client(served) as http:
        found = await bills(served, monkeypatch, talk, 12)
        listed = (await http.get(f"responses/{before['previous_response_id']}/input_items")).json()["data"]
    assert len(listed) == 1
    written = [dict(bill)["create_turn"] for bill in found]
    steps = [late - early for early, late in pairwise(written[1:])]
    assert all(abs(step - steps[0]) < SAME for step in steps)
    assert steps[0] < 9 * len("Tell me more. ") + 400
