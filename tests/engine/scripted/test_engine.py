"""The scripted engine: the contract, its levers and its rate."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from engine.base import BadRequest, Channel, Chunk, Engine, EngineDead, EngineError, Finish, Params, Prompt, Said
from engine.scripted import Levers, ScriptedEngine
from engine.scripted.script import read
from tests.engine.contract import Asking, EngineContract, FakeSink, greedy, ids_of, said_by, text_of
from tests.frozen import frozen_time
from tests.speed import slowness


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine(context=4096)
    yield engine
    assert not engine.running


@pytest.fixture
def asking(engine: ScriptedEngine) -> Asking:
    return Asking(engine)


class TestContract(EngineContract):
    def unfinished(self, engine: Engine) -> int:
        assert isinstance(engine, ScriptedEngine)
        return len(engine.running)


async def test_a_prompt_reads_as_its_messages(asking: Asking) -> None:
    assert read((await asking.prompt("Hallo, 語!")).token_ids) == "<user>Hallo, 語!\n"


async def test_every_node_says_the_same(asking: Asking) -> None:
    prompt = await asking.prompt()
    assert await asking.ask(prompt, greedy(50)) == await Asking(ScriptedEngine()).ask(prompt, greedy(50))


async def test_text_has_characters_of_several_tokens(asking: Asking) -> None:
    chunks = await asking.ask(await asking.prompt(), greedy(100))
    assert any(not chunk.deltas for chunk in chunks)
    assert any(ord(character) > 127 for character in text_of(chunks))
    assert "�" not in text_of(chunks)


@pytest.mark.parametrize("ask", ["[tokens=30]", "[reasoning=9] [tokens=30]", "[reasoning=4] [call=look]", "[call=a,b]"])
async def test_goes_on_at_every_token(asking: Asking, ask: str) -> None:
    prompt = await asking.prompt(ask)
    chunks = await asking.ask(prompt, Params())
    assert chunks[-1].finish is Finish.STOP
    for cut in range(len(chunks) + 1):
        rest = await asking.ask(prompt, Params(), said_by(chunks[:cut]))
        assert said_by(chunks) == said_by(chunks[:cut] + rest), cut


async def test_tokens_of_reasoning_are_counted(asking: Asking) -> None:
    chunks = await asking.ask(await asking.prompt("[reasoning=5] [tokens=9]"), Params())
    assert chunks[-1].reasoning_tokens == 5
    assert text_of(chunks, Channel.REASONING)
    assert len(ids_of(chunks)) == 10  # with the end of the text


async def test_a_forced_call(asking: Asking) -> None:
    tools = ({"type": "function", "name": "look"},)
    chunks = await asking.ask(await asking.prompt(), Params(tools=tools, tool_choice="required"))
    calls = [delta.call for chunk in chunks for delta in chunk.deltas if delta.call]
    assert [call.name for call in calls] == ["look"]


async def test_fail_at_a_token(asking: Asking) -> None:
    with pytest.raises(EngineError, match="token 3"):
        await asking.ask(await asking.prompt("[fail@3]"), Params())
    await asking.engine.check()


async def test_hang_at_a_token(asking: Asking) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asking.ask(await asking.prompt("[hang@3]"), Params()), 0.05)


async def test_die_takes_every_generation_along(asking: Asking) -> None:
    hanging = asyncio.create_task(asking.ask(await asking.prompt("[hang@3]"), Params()))
    with pytest.raises(EngineDead):
        await asking.ask(await asking.prompt("[die@7]"), Params())
    with pytest.raises(EngineDead):
        await hanging
    with pytest.raises(EngineDead):
        await asking.engine.check()


async def test_levers_of_the_engine_win(engine: ScriptedEngine, asking: Asking) -> None:
    engine.levers = Levers(tokens=5)
    assert len(ids_of(await asking.ask(await asking.prompt("[tokens=50]"), Params()))) == 6


async def test_a_lever_that_is_no_number_is_a_bad_request(asking: Asking) -> None:
    with pytest.raises(BadRequest):
        await asking.engine.admit(await asking.prompt("[tokens=many]"), Params())


async def test_levers_in_earlier_messages_are_ignored(engine: ScriptedEngine) -> None:
    messages = [{"role": "user", "content": "[fail@0]"}, {"role": "assistant", "content": "ka"}]
    prompt = await engine.render([*messages, {"role": "user", "content": "[tokens=3]"}], Params(), None)
    assert len(ids_of(await Asking(engine).ask(prompt, Params()))) == 4


async def duration(work: Coroutine[Any, Any, None]) -> float:
    """How long it takes where every machine is as fast as the loop's time has it."""
    with frozen_time() as time:
        began, task = time.now, asyncio.ensure_future(work)
        while not task.done():
            await time.advance(0.001)
        await task
        return time.now - began


async def test_keeps_its_pace(engine: ScriptedEngine, asking: Asking) -> None:
    """The n-th token is due n / rate after the first, however late the ones before it were."""
    engine.rate = 200
    stream = engine.generate("paced", await asking.prompt(), greedy(40), Said())

    async def read() -> None:
        async for chunk in stream:
            if len(chunk.token_ids) == 1:
                await asyncio.sleep(0.002)  # a reader that is late by a part of the pace each time

    assert 0.19 <= await duration(read()) < 0.21


async def test_a_token_that_is_pushed_wakes_nobody(engine: ScriptedEngine, asking: Asking) -> None:
    """Only the last chunk comes by the iterator, and the others keep their pace."""
    engine.rate = 500
    sink, rest = FakeSink(), list[Chunk]()
    stream = engine.generate("pushed", await asking.prompt(), greedy(50), Said(), sink)

    async def read() -> None:
        rest.extend([chunk async for chunk in stream])

    assert 0.09 <= await duration(read()) < 0.11
    assert [chunk.finish for chunk in rest] == [Finish.LENGTH]
    assert len(ids_of(sink.chunks + rest)) == 50


@pytest.mark.parametrize("lever", ["fail", "die"])
async def test_levers_work_where_tokens_are_pushed(engine: ScriptedEngine, asking: Asking, lever: str) -> None:
    engine.rate = 1000
    sink = FakeSink()
    with pytest.raises(EngineError):
        async for _ in engine.generate("levers", await asking.prompt(f"[{lever}@6]"), greedy(50), Said(), sink):
            pass
    assert len(ids_of(sink.chunks)) == 6


async def test_a_slow_first_token(asking: Asking) -> None:
    start = time.monotonic()
    await asking.ask(await asking.prompt("[first=0.1] [tokens=2]"), Params())
    assert time.monotonic() - start >= 0.1


async def test_a_thousand_streams_keep_their_pace(engine: ScriptedEngine) -> None:
    engine.rate = 30
    start, tokens = time.thread_time(), list[int]()

    async def one(number: int) -> None:
        prompt = Prompt((number % 256, number // 256))
        async for chunk in engine.generate(str(number), prompt, greedy(15), Said()):
            tokens.append(len(chunk.token_ids))

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(1000)))

    assert 0.46 <= await duration(all_of_them()) < 0.5
    assert sum(tokens) == 15000
    assert time.thread_time() - start < 3 * slowness()


async def test_a_closed_engine_counts_as_dead(engine: ScriptedEngine, asking: Asking) -> None:
    prompt = await asking.prompt()
    await engine.close()
    await engine.close()
    with pytest.raises(EngineDead):
        await asking.ask(prompt, Params())
