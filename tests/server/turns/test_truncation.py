"""Which items `truncation: auto` leaves out, and how often it renders for that."""

from typing import Any

import pytest

from engine.base import Params, Prompt, PromptTooLong
from engine.scripted import ScriptedEngine
from server.protocol.items import to_messages
from server.protocol.request import parse_request
from server.store.memory.store import MemoryStore
from server.turns.preparation import Preparations
from server.turns.prompt import SPARSE_CHARACTERS, TurnRequest, prepare
from server.turns.truncation import Cuts

USER = {"role": "user", "content": "x" * 100}
NOTHING: dict[str, Any] = {"type": "reasoning"}


class CountingEngine(ScriptedEngine):
    """Counts what it renders."""

    def __init__(self, context: int) -> None:
        super().__init__(context=context)
        self.rendered: list[int] = []  # messages of each rendering

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        self.rendered.append(len(messages))
        return await super().render(messages, params, salt)


async def prepared(engine: CountingEngine, items: list[dict[str, Any]], **fields: Any) -> Prompt:
    request = parse_request({"input": items, "truncation": "auto", **fields})
    asked = TurnRequest("alice", request, "", size=100 * len(items))
    async with Preparations().begin("alice", asked.size) as preparation:
        whole = await prepare(engine, MemoryStore(), asked, "resp_1", preparation)
    return whole.prompt


class TestPrepare:
    """With an engine."""

    async def test_what_fits_is_rendered_once(self) -> None:
        engine = CountingEngine(1000)
        await prepared(engine, [USER] * 5)
        assert engine.rendered == [5]

    async def test_the_first_cut_fits(self) -> None:
        engine = CountingEngine(1000)
        prompt = await prepared(engine, [USER] * 100)
        assert len(engine.rendered) == 2
        assert 700 < len(prompt.token_ids) < 1000

    async def test_what_fits_in_no_case_is_cut_before_it_is_rendered(self) -> None:
        engine = CountingEngine(1000)
        prompt = await prepared(engine, [USER] * 5000)
        assert max(engine.rendered) <= 1000 * SPARSE_CHARACTERS // 100
        assert 700 < len(prompt.token_ids) < 1000

    async def test_a_last_item_alone_that_is_too_long_is_refused(self) -> None:
        engine = CountingEngine(1000)
        with pytest.raises(PromptTooLong):
            await prepared(engine, [*[USER] * 5000, {"role": "user", "content": "x" * 50_000}])
        assert engine.rendered == [1]

    async def test_items_that_show_nowhere_cost_no_rendering(self) -> None:
        engine = CountingEngine(1000)
        with pytest.raises(PromptTooLong):
            await prepared(engine, [NOTHING] * 20_000 + [{"role": "user", "content": "x" * 2000}])
        assert len(engine.rendered) <= 2

    async def test_more_messages_than_tokens_are_not_rendered_at_all(self) -> None:
        engine = CountingEngine(1000)
        with pytest.raises(PromptTooLong):
            await prepared(engine, [USER] * 1001, truncation="disabled")
        assert engine.rendered == []

    async def test_instructions_that_leave_no_room_end_in_an_error(self) -> None:
        engine = CountingEngine(1000)
        with pytest.raises(PromptTooLong):
            await prepared(engine, [USER] * 400, instructions="x" * 2000)
        assert sum(engine.rendered) <= 2 * 401 + 30

    async def test_wrong_estimates_cost_about_two_renderings_more(self) -> None:
        """The end of the chat has far more tokens for each character than its beginning."""
        engine = CountingEngine(4000)
        prompt = await prepared(engine, [USER] * 200 + [{"role": "user", "content": "語" * 100}] * 200)
        assert len(prompt.token_ids) < 4000
        assert sum(engine.rendered) < 3 * 400
        assert len(engine.rendered) <= 6


class TestCuts:
    """By themselves."""

    def test_every_cut_leaves_out_more_and_one_item_stays(self) -> None:
        cuts = Cuts([USER] * 1000, 0)
        dropped = []
        while cuts.can_cut:
            dropped.append(cuts.cut(10**9, 10**9 - 1))
        assert dropped == sorted(set(dropped))
        assert dropped[-1] == 999
        assert len(dropped) < 20

    def test_a_share_that_fits_is_kept(self) -> None:
        cuts = Cuts([USER] * 100, 0)
        assert 49 <= cuts.cut(2000, 1000) <= 51


def test_thousands_of_system_items_become_one_message() -> None:
    items = [{"role": "system", "content": "a"}] * 20_000
    [message] = to_messages("first", items)
    assert message == {"role": "system", "content": "first" + "\n\na" * 20_000}
