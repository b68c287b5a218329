"""What every engine keeps. A test module subclasses `EngineContract` and gives it an `engine` fixture."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from engine.base import (
    BadParameter,
    BadRequest,
    CannotContinue,
    Channel,
    Chunk,
    Engine,
    EngineError,
    Finish,
    Format,
    Logprob,
    Params,
    Prompt,
    PromptTooLong,
    Said,
)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"enum": ["ka", "lo"]}, "done": {"type": "boolean"}},
    "required": ["name", "done"],
    "additionalProperties": False,
}

BAD: Sequence[tuple[str, dict[str, Any]]] = [
    ("max_output_tokens", {"max_tokens": 0}),
    ("temperature", {"temperature": -0.1}),
    ("temperature", {"temperature": 2.1}),
    ("temperature", {"temperature": float("nan")}),
    ("temperature", {"temperature": float("inf")}),
    ("top_p", {"top_p": 0.0}),
    ("top_p", {"top_p": 1.1}),
    ("top_k", {"top_k": -2}),
    ("top_k", {"top_k": 2**40}),
    ("min_p", {"min_p": 1.5}),
    ("seed", {"seed": 2**63}),
    ("presence_penalty", {"presence_penalty": 2.5}),
    ("frequency_penalty", {"frequency_penalty": float("nan")}),
    ("repetition_penalty", {"repetition_penalty": 0.0}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": -1}),
    ("stop", {"stop": ("",)}),
    ("stop", {"stop": ("a",) * 17}),
    ("text.format.type", {"format": Format("xml")}),
    ("text.format.schema.type", {"format": Format("json_schema", {"type": "nonsense"})}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice", {"tool_choice": {"type": "function", "name": "absent"}}),
]


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def ids_of(chunks: Sequence[Chunk]) -> tuple[int, ...]:
    return tuple(token for chunk in chunks for token in chunk.token_ids)


def text_of(chunks: Sequence[Chunk], channel: Channel = Channel.TEXT) -> str:
    return "".join(delta.text for chunk in chunks for delta in chunk.deltas if delta.channel is channel)


def logprobs_of(chunks: Sequence[Chunk]) -> list[Logprob]:
    return [each for chunk in chunks for delta in chunk.deltas for each in delta.logprobs]


def said_by(chunks: Sequence[Chunk]) -> Said:
    """What a log holds after these chunks."""
    deltas = [delta for chunk in chunks for delta in chunk.deltas]
    last = max((place for place, delta in enumerate(deltas) if delta.call), default=len(deltas))
    arguments = "".join(delta.text for delta in deltas[last:] if delta.channel is Channel.TOOL)
    calls = sum(delta.call is not None for delta in deltas)
    return Said(ids_of(chunks), text_of(chunks), text_of(chunks, Channel.REASONING), calls, arguments)


class FakeSink:
    """A `ChunkSink` of two functions; without them it takes every chunk and never merges."""

    def __init__(
        self, take: Callable[[Chunk], bool] | None = None, merge_until: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.chunks: list[Chunk] = []  # that it took
        self._take = take or (lambda chunk: True)
        self._merge_until = merge_until

    def try_push(self, chunk: Chunk, /) -> bool:
        taken = self._take(chunk)
        if taken:
            self.chunks.append(chunk)
        return taken

    def merge_until(self) -> float:
        return self._merge_until()


class Asking:
    """One engine and ever new request ids."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._last = 0

    async def prompt(self, text: str = "Say something.", salt: str | None = None) -> Prompt:
        return await self.engine.render(user(text), Params(), salt)

    def id(self) -> str:
        self._last += 1
        return f"{id(self)}-{self._last}"

    async def ask(self, prompt: Prompt, params: Params, said: Said | None = None) -> list[Chunk]:
        admitted = await self.engine.admit(prompt, params)
        return [chunk async for chunk in self.engine.generate(self.id(), prompt, admitted, said or Said())]


def greedy(tokens: int, **others: Any) -> Params:
    return Params(max_tokens=tokens, temperature=0, ignore_eos=True, **others)


class EngineContract:
    """Greedy answers of an idle engine are the same every time: that is what cuts are compared with."""

    @pytest.fixture
    def asking(self, engine: Engine) -> Asking:
        return Asking(engine)

    def unfinished(self, engine: Engine) -> int:
        """Generations that hold a slot."""
        raise NotImplementedError

    async def test_only_the_last_chunk_has_a_finish(self, asking: Asking) -> None:
        chunks = await asking.ask(await asking.prompt(), greedy(12))
        assert [chunk.finish for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].finish is Finish.LENGTH
        assert len(ids_of(chunks)) == 12

    async def test_max_tokens_is_filled_from_the_context(self, asking: Asking) -> None:
        prompt = await asking.prompt()
        context = asking.engine.model.context
        assert (await asking.engine.admit(prompt, Params())).max_tokens == context - len(prompt.token_ids)
        assert (await asking.engine.admit(prompt, Params(max_tokens=10**9))).max_tokens == context - len(
            prompt.token_ids
        )

    async def test_a_stop_string_ends_the_text_before_it(self, asking: Asking) -> None:
        prompt = await asking.prompt()
        whole = text_of(await asking.ask(prompt, greedy(40)))
        stop = whole[8:11]
        chunks = await asking.ask(prompt, greedy(40, stop=(stop, "never said")))
        assert text_of(chunks) == whole[: whole.index(stop)]
        assert chunks[-1].finish is Finish.STOP

    async def test_goes_on_at_every_cut(self, asking: Asking) -> None:
        """For every cut: what was said and what follows are the uncut answer."""
        prompt, params = await asking.prompt(), greedy(24)
        chunks = await asking.ask(prompt, params)
        for cut in range(0, len(chunks) + 1, 3):
            said = said_by(chunks[:cut])
            rest = await asking.ask(prompt, params, said)
            assert said.text + text_of(rest) == text_of(chunks), cut
            assert said.token_ids + ids_of(rest) == ids_of(chunks), cut
            assert rest[-1].finish is Finish.LENGTH

    async def test_goes_on_where_ids_ran_ahead_of_the_text(self, asking: Asking) -> None:
        prompt, params = await asking.prompt(), greedy(24)
        chunks = await asking.ask(prompt, params)
        whole, ids = text_of(chunks), ids_of(chunks)
        for shown in (0, 1, 5):
            rest = await asking.ask(prompt, params, Said(ids[:12], whole[:shown]))
            assert whole[:shown] + text_of(rest) == whole

    async def test_goes_on_inside_a_stop_string(self, asking: Asking) -> None:
        """What was held back for it comes out or is swallowed as if there had been no cut."""
        prompt = await asking.prompt()
        whole = text_of(await asking.ask(prompt, greedy(40)))
        params = greedy(40, stop=(whole[12:20],))
        chunks = await asking.ask(prompt, params)
        for cut in range(1, len(chunks), 2):
            rest = await asking.ask(prompt, params, said_by(chunks[:cut]))
            assert text_of(chunks[:cut]) + text_of(rest) == text_of(chunks), cut
            assert rest[-1].finish is Finish.STOP

    async def test_a_complete_answer_only_finishes(self, asking: Asking) -> None:
        prompt, params = await asking.prompt(), greedy(9)
        chunks = await asking.ask(prompt, params)
        rest = await asking.ask(prompt, params, said_by(chunks))
        assert [chunk.finish for chunk in rest] == [Finish.LENGTH]
        assert ids_of(rest) == ()

    async def test_refuses_to_go_on_behind_other_text(self, asking: Asking) -> None:
        prompt, params = await asking.prompt(), greedy(24)
        ids = ids_of(await asking.ask(prompt, params))
        with pytest.raises(CannotContinue):
            await asking.ask(prompt, params, Said(ids[:9], "this was never said"))

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    async def test_pushed_and_yielded_chunks_are_the_whole_answer(self, asking: Asking, share: float) -> None:
        prompt = await asking.prompt("Tell me a story about a fox.")  # a long one
        params = await asking.engine.admit(prompt, greedy(60, logprobs=True))
        rng = random.Random(share)
        chunks: list[Chunk] = []
        pushed: list[Chunk] = []

        def take(chunk: Chunk) -> bool:
            if rng.random() >= share:
                return False
            chunks.append(chunk)
            pushed.append(chunk)
            return True

        def merge_until() -> float:
            return rng.choice((0.0, asyncio.get_running_loop().time() + rng.random() / 20))

        stream = asking.engine.generate(asking.id(), prompt, params, Said(), FakeSink(take, merge_until))
        async for chunk in stream:
            chunks.append(chunk)  # noqa: PERF401  # the sink appends in between
        whole = await asking.ask(prompt, greedy(60, logprobs=True))
        assert ids_of(chunks) == ids_of(whole)
        assert text_of(chunks) == text_of(whole)
        assert [each.token for each in logprobs_of(chunks)] == [each.token for each in logprobs_of(whole)]
        assert chunks[-1].finish is Finish.LENGTH
        assert bool(pushed) == bool(share)

    async def test_an_error_in_the_sink_fails_this_generation_alone(self, asking: Asking) -> None:
        prompt = await asking.prompt()
        params = await asking.engine.admit(prompt, greedy(40))

        def fail(chunk: Chunk) -> bool:
            raise KeyError("a bug")

        async def answer() -> None:
            async for _ in asking.engine.generate(asking.id(), prompt, params, Said(), FakeSink(fail)):
                pass

        with pytest.raises((EngineError, KeyError)):
            await answer()
        assert self.unfinished(asking.engine) == 0
        assert len(ids_of(await asking.ask(prompt, greedy(20)))) == 20

    async def test_many_at_once(self, asking: Asking) -> None:
        prompts = [await asking.prompt(f"Number {number}.") for number in range(32)]
        answers = await asyncio.gather(*(asking.ask(prompt, greedy(20)) for prompt in prompts))
        assert {len(ids_of(chunks)) for chunks in answers} == {20}
        assert self.unfinished(asking.engine) == 0

    async def test_closing_the_iterator_frees_the_slot(self, asking: Asking) -> None:
        prompt = await asking.prompt()
        params = await asking.engine.admit(prompt, greedy(900))
        stream = asking.engine.generate(asking.id(), prompt, params, Said())
        first = await anext(stream)
        assert self.unfinished(asking.engine) == (first.finish is None)
        await stream.aclose()
        assert self.unfinished(asking.engine) == 0

    async def test_cancelling_the_consumer_frees_the_slot(self, asking: Asking) -> None:
        started = asyncio.Event()
        prompt = await asking.prompt()

        async def consume() -> None:
            params = await asking.engine.admit(prompt, greedy(900))
            async for _ in asking.engine.generate(asking.id(), prompt, params, Said()):
                started.set()

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert self.unfinished(asking.engine) == 0

    @pytest.mark.parametrize(("name", "values"), BAD, ids=lambda value: str(value)[:40])
    async def test_bad_parameters_are_named(self, asking: Asking, name: str, values: dict[str, Any]) -> None:
        with pytest.raises(BadParameter) as caught:
            await asking.engine.admit(await asking.prompt(), Params(**values))
        assert caught.value.name == name
        assert caught.value.reason

    async def test_refuses_a_prompt_without_room_for_an_answer(self, asking: Asking) -> None:
        context = asking.engine.model.context
        prompt = Prompt((await asking.prompt()).token_ids * context)
        with pytest.raises(PromptTooLong) as caught:
            await asking.engine.admit(Prompt(prompt.token_ids[:context]), Params())
        assert (caught.value.tokens, caught.value.limit) == (context, context)
        full = Prompt(prompt.token_ids[: context - 1])
        assert (await asking.engine.admit(full, Params())).max_tokens == 1

    async def test_a_message_without_role_is_a_bad_request(self, asking: Asking) -> None:
        with pytest.raises(BadRequest):
            await asking.engine.render([{"content": "nobody said this"}], Params(), None)

    async def test_deltas_are_whole_characters(self, asking: Asking) -> None:
        params = Params(max_tokens=200, temperature=1.5, top_p=0.99, seed=7, ignore_eos=True)
        chunks = await asking.ask(await asking.prompt(), params)
        for chunk in chunks:
            for delta in chunk.deltas:
                delta.text.encode()  # no half of a surrogate pair

    async def test_logprobs_of_every_token(self, asking: Asking) -> None:
        prompt = await asking.prompt("Tell me a long story.")  # not over within the limit
        chunks = await asking.ask(prompt, greedy(16, logprobs=True, top_logprobs=3))
        entries = [entry for chunk in chunks for delta in chunk.deltas for entry in delta.logprobs]
        assert 14 <= len(entries) <= 16  # the last ones may belong to half a character
        assert all(len(entry.top) == 3 and entry.logprob <= 0 for entry in entries)
        assert all(entry.top[0].logprob == pytest.approx(entry.logprob) for entry in entries)
        assert "".join(entry.token for entry in entries).startswith(text_of(chunks)[:1])

    async def test_no_logprobs_unless_asked(self, asking: Asking) -> None:
        chunks = await asking.ask(await asking.prompt(), greedy(4, top_logprobs=3))
        assert not any(delta.logprobs for chunk in chunks for delta in chunk.deltas)

    async def test_json_schema_rules_the_answer(self, asking: Asking) -> None:
        params = Params(max_tokens=200, temperature=0, format=Format("json_schema", SCHEMA))
        answer = json.loads(text_of(await asking.ask(await asking.prompt(), params)))
        assert answer["name"] in ("ka", "lo")
        assert isinstance(answer["done"], bool)

    async def test_a_structured_answer_cannot_be_continued(self, asking: Asking) -> None:
        prompt, params = await asking.prompt(), greedy(30, format=Format("json_schema", SCHEMA))
        ids = ids_of(await asking.ask(prompt, params))
        with pytest.raises(CannotContinue):
            await asking.ask(prompt, params, Said(ids[:3]))

    async def test_a_prompt_seen_before_is_cached_for_its_salt_only(self, asking: Asking) -> None:
        cached = []
        for salt in ("one", "one", "two"):
            chunks = await asking.ask(await asking.prompt("Remember this. " * 60, salt=salt), greedy(2))
            cached.append(max(chunk.cached_tokens for chunk in chunks))
        assert cached[0] == cached[2] == 0
        assert cached[1] > 0

    async def test_reports_what_it_is(self, asking: Asking) -> None:
        model = asking.engine.model
        assert model.version
        assert model.slots > 0
        assert msgspec.to_builtins(model)["name"] == model.name
        await asking.engine.check()
