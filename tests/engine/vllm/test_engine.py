"""The real engine: the contract, and what only vLLM can get wrong."""

import asyncio
import time
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from engine.base import (
    BadParameter,
    BadRequest,
    Chunk,
    ChunkSink,
    Engine,
    EngineDead,
    EngineError,
    Finish,
    Params,
    Said,
)
from engine.vllm import VllmEngine, process
from tests.engine.contract import Asking, EngineContract, FakeSink, greedy, ids_of, logprobs_of, text_of, user
from tests.engine.real import MODEL, require_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def engine(vllm_engine: VllmEngine) -> VllmEngine:
    return vllm_engine


@pytest.fixture
def asking(engine: VllmEngine) -> Asking:
    return Asking(engine)


def llm_of(engine: Engine) -> Any:
    assert isinstance(engine, VllmEngine)
    return engine._running()._llm


class TestContract(EngineContract):
    def unfinished(self, engine: Engine) -> int:
        return int(llm_of(engine).get_num_unfinished_requests())


STORY = "Tell me a story about a fox."


async def answer(asking: Asking, sink: ChunkSink, tokens: int = 60, **changes: Any) -> list[Chunk]:
    """The chunks that the iterator yields; the rest went to the sink."""
    prompt = await asking.prompt(STORY)
    params = await asking.engine.admit(prompt, greedy(tokens, **changes))
    return [chunk async for chunk in asking.engine.generate(asking.id(), prompt, params, Said(), sink)]


async def far(asking: Asking, **changes: Any) -> list[Chunk]:
    """With a reader who wants nothing for an hour after the first token."""
    loop = asyncio.get_running_loop()
    sink = FakeSink(merge_until=lambda: loop.time() + 3600)
    last = await answer(asking, sink, **changes)
    assert [len(sink.chunks), len(last)] == [1, 1]
    return [*sink.chunks, *last]


@pytest.mark.parametrize("changes", [{}, {"logprobs": True, "top_logprobs": 2}, {"stop": ("never said",)}])
async def test_the_last_chunk_has_all_that_gathered(engine: VllmEngine, changes: dict[str, Any]) -> None:
    asking = Asking(engine)
    whole = await asking.ask(await asking.prompt(STORY), greedy(60, **changes))
    chunks = await far(asking, **changes)
    assert len(ids_of(chunks[:1])) == 1
    assert ids_of(chunks) == ids_of(whole)
    assert text_of(chunks) == text_of(whole)
    assert [each.token for each in logprobs_of(chunks)] == [each.token for each in logprobs_of(whole)]
    assert chunks[-1].finish is Finish.LENGTH


async def test_a_stop_ends_what_gathers(engine: VllmEngine) -> None:
    asking = Asking(engine)
    whole = text_of(await asking.ask(await asking.prompt(STORY), greedy(60)))
    stop = whole[20:26]
    chunks = await far(asking, stop=(stop,))
    assert text_of(chunks) == whole[: whole.index(stop)]
    assert chunks[-1].finish is Finish.STOP


async def test_what_gathers_comes_when_it_is_due_and_then_each_at_once(engine: VllmEngine) -> None:
    """After a time without a token there is nothing to wait for."""
    asking = Asking(engine)
    loop = asyncio.get_running_loop()
    taken: list[tuple[float, Chunk]] = []

    def take(chunk: Chunk) -> bool:
        taken.append((loop.time(), chunk))
        return True

    def merge_until() -> float:
        return loop.time() + (0.02 if len(taken) < 3 else 0.0)

    last = await answer(asking, FakeSink(take, merge_until), 300)
    (first, one), (second, more), (third, rest) = taken[:3]
    assert len(one.token_ids) == 1
    assert len(more.token_ids) > 1
    assert second - first >= 0.02
    assert third - second >= 0.02
    assert all(len(chunk.token_ids) == 1 for _, chunk in taken[3:])
    everything = [one, more, rest, *(chunk for _, chunk in taken[3:]), *last]
    whole = await asking.ask(await asking.prompt(STORY), greedy(300))
    assert ids_of(everything) == ids_of(whole)
    assert text_of(everything) == text_of(whole)


async def test_a_long_text_and_a_short_one_are_rendered_alike(engine: VllmEngine) -> None:
    """One of them in a thread."""
    few, many = "b" + " a" * 10, "b" + " a" * 4000
    short, long = await engine.render(user(few), Params(), None), await engine.render(user(many), Params(), None)
    tokenizer = llm_of(engine).get_tokenizer()
    assert many in tokenizer.decode(long.token_ids)
    assert tokenizer.decode(long.token_ids).replace(many, few) == tokenizer.decode(short.token_ids)


async def test_renders_through_the_chat_template(engine: VllmEngine) -> None:
    prompt = await engine.render(user("Hello there."), Params(), "salt")
    text = llm_of(engine).get_tokenizer().decode(prompt.token_ids)
    assert "Hello there." in text
    assert text != "Hello there."
    assert prompt.salt == "salt"


async def test_renders_the_same_ids_from_parameters_that_were_kept(engine: VllmEngine) -> None:
    """Another node has what `admit` returned, read from a record."""
    assert engine.model.renders_alike
    params = Params(max_tokens=5, temperature=0.5, stop=("x",))
    prompt = await engine.render(user("Hello there."), params, "salt")
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(await engine.admit(prompt, params)), type=Params)
    assert await engine.render(user("Hello there."), kept, "salt") == prompt


async def test_pictures_are_a_bad_request(engine: VllmEngine) -> None:
    with pytest.raises(BadRequest):
        await engine.render([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], Params(), None)


async def test_a_forced_call_without_a_parser_is_unsupported(engine: VllmEngine, asking: Asking) -> None:
    params = Params(tools=({"type": "function", "name": "look"},), tool_choice="required")
    with pytest.raises(BadParameter) as caught:
        await engine.admit(await asking.prompt(), params)
    assert caught.value.unsupported


async def test_characters_across_the_cut(engine: VllmEngine, asking: Asking) -> None:
    """A continuation that begins in the middle of a character completes it or drops it, and repeats nothing."""
    prompt = await asking.prompt()
    tokenizer = llm_of(engine).get_tokenizer()
    ids = tuple(tokenizer.encode("Grüße 🙂 und mehr", add_special_tokens=False))
    for cut in range(1, len(ids) + 1):
        shown = tokenizer.decode(ids[:cut]).rstrip("�")
        rest = await asking.ask(prompt, greedy(cut + 8), Said(ids[:cut], shown))
        assert "Gr" not in text_of(rest)[:3]


async def test_the_loop_turns_while_a_schema_is_checked(engine: VllmEngine, asking: Asking) -> None:
    prompt, start = await asking.prompt(), time.thread_time()
    with pytest.raises(BadParameter):
        await engine.admit(prompt, Params(tools=({"type": "web_search"},)))
    assert time.thread_time() - start < 0.1  # of the processor


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--max-model-length", "12"], "--max-model-length"),
        (["--max-model-len", "many"], "--max-model-len"),
        (["--max-model-len", "99999"], "max_model_len"),
        (["--gpu-memory-utilization", "7"], "--gpu-memory-utilization"),
        (["--dtype", "float99"], "--dtype"),
        (["--reasoning-parser", "none-such"], "--reasoning-parser"),
        (["--tool-call-parser", "none-such"], "--tool-call-parser"),
        (["--chat-template", "/none/such.jinja"], "--chat-template"),
    ],
)
async def test_a_wrong_option_is_named(options: list[str], named: str) -> None:
    require_vllm()
    from engine.vllm.launch import launch
    from engine.vllm.options import parse

    with pytest.raises(EngineError, match=named):
        await asyncio.to_thread(lambda: launch(parse(MODEL, "demo", options)))


async def test_a_folder_without_model_is_named() -> None:
    require_vllm()
    from engine.vllm.launch import launch
    from engine.vllm.options import parse

    with pytest.raises(EngineError, match="/none/such"):
        await asyncio.to_thread(lambda: launch(parse("/none/such", "demo", [])))


async def test_an_engine_that_was_not_started_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Mock()
    monkeypatch.setattr(process, "stop", stop)  # of this process' only forkserver, from which other tests' engine comes
    engine = VllmEngine(MODEL, "demo")
    with pytest.raises(EngineDead):
        await engine.check()
    await engine.close()
    await engine.close()
    assert stop.call_count == 2
