"""vLLM's reasoning and tool parsers in a generation, on an engine that says what the test wants."""

import importlib.util
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine.base import BadParameter, CannotContinue, Channel, Chunk, EngineError, Finish, Params, Prompt, Said
from tests.engine.contract import ids_of, said_by, text_of
from tests.engine.real import require_vllm

if importlib.util.find_spec("vllm") is not None:
    from engine.vllm.decode import Redecoder
    from engine.vllm.parsed import ParsedGeneration, TextReader
    from engine.vllm.parsers import OutputParsers

pytestmark = pytest.mark.vllm

SPECIAL = ("<end>", "<think>", "</think>", "<tool_call>", "</tool_call>")
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
ANSWER = (
    "<think>Wo ist das? 語</think>Ich sehe nach.\n"
    '<tool_call>\n{"name": "look", "arguments": {"at": "Zürich"}}\n</tool_call>'
    '<tool_call>\n{"name": "look", "arguments": {"at": "Bern"}}\n</tool_call>'
)


@pytest.fixture(scope="module", autouse=True)
def _vllm() -> None:
    require_vllm()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Every byte is a token, and there are the special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(SPECIAL[0], special=True)])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in SPECIAL[1:]])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0])


class SayingLLM:
    """AsyncLLM as far as a generation uses it: says `ids` after the prompt, `burst` at a time."""

    def __init__(self, tokenizer: Any, prompt: tuple[int, ...], ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._ids = ids
        self.burst = 1
        self.aborted: list[str] = []
        self.model_config = SimpleNamespace(
            model="test", max_model_len=4096, hf_config=SimpleNamespace(model_type="llama"), hf_text_config=None
        )
        self.input_processor = SimpleNamespace(generation_config_fields={})
        self.renderer = SimpleNamespace(get_eos_token_id=lambda: tokenizer.eos_token_id)

    def get_tokenizer(self) -> Any:
        return self._tokenizer

    async def abort(self, id: str) -> None:
        self.aborted.append(id)

    async def generate(self, prompt: dict[str, Any], sampling: Any, id: str, **_: Any) -> AsyncIterator[Any]:
        said = len(prompt["prompt_token_ids"]) - len(self._prompt)
        redecoder = Redecoder(self._tokenizer, Prompt(tuple(prompt["prompt_token_ids"])), sampling)
        left = self._ids[said : said + sampling.max_tokens]
        for place in range(0, len(left), self.burst):
            tokens = left[place : place + self.burst]
            reason = "stop" if tokens[-1] == self._tokenizer.eos_token_id else None
            reason = reason or ("length" if place + len(tokens) == sampling.max_tokens else None)
            text, stopped = redecoder.feed(tokens, reason)
            reason = "stop" if stopped else reason
            completion = SimpleNamespace(
                text=text, token_ids=tokens, finish_reason=reason, stop_reason=None, logprobs=None
            )
            yield SimpleNamespace(outputs=[completion], finished=reason is not None, num_cached_tokens=0)
            if reason:
                return


class Stage:
    """One prompt, one predetermined answer, any number of generations."""

    def __init__(self, tokenizer: Any, answer: str, reasoning: str | None, tools: str | None) -> None:
        self.prompt = Prompt(tuple(tokenizer.encode("Say!")))
        ids = [*tokenizer.encode(answer), tokenizer.eos_token_id]
        self.llm: Any = SayingLLM(tokenizer, self.prompt.token_ids, ids)
        self.parsers = OutputParsers(self.llm, reasoning, tools)

    async def ask(self, params: Params, said: Said | None = None, *, structured: Any = None) -> list[Chunk]:
        from vllm.sampling_params import SamplingParams

        sampling = SamplingParams(max_tokens=params.max_tokens or 1000, stop=list(params.stop))
        sampling.structured_outputs = structured
        sampling.skip_special_tokens = not self.parsers
        reader = self.parsers.open(self.prompt, params) if self.parsers else TextReader()
        generation = ParsedGeneration(self.llm, self.prompt, sampling, reader, said=said or Said())
        return [chunk async for chunk in generation.stream("id", text_first=params.tool_choice == "auto")]


@pytest.fixture
def stage(tokenizer: Any) -> Stage:
    return Stage(tokenizer, ANSWER, "deepseek_r1", "hermes")


def arguments(chunks: list[Chunk], index: int) -> str:
    calls: list[str] = []
    for delta in (delta for chunk in chunks for delta in chunk.deltas if delta.channel is Channel.TOOL):
        if delta.call:
            calls.append("")
        calls[-1] += delta.text
    return calls[index]


async def test_splits_reasoning_text_and_calls(stage: Stage) -> None:
    chunks = await stage.ask(Params(tools=(LOOK,)))
    assert text_of(chunks, Channel.REASONING) == "Wo ist das? 語"
    assert text_of(chunks).strip() == "Ich sehe nach."
    calls = [delta.call for chunk in chunks for delta in chunk.deltas if delta.call]
    assert [(call.index, call.name) for call in calls] == [(0, "look"), (1, "look")]
    assert arguments(chunks, 0) == '{"at": "Zürich"}'
    assert chunks[-1].finish is Finish.STOP
    assert chunks[-1].reasoning_tokens == len("Wo ist das? 語".encode()) + 2  # with both markers


@pytest.mark.parametrize("burst", [1, 2, 3, 7])
async def test_goes_on_at_every_cut(stage: Stage, burst: int) -> None:
    """In reasoning, between channels, inside markup, inside a call's arguments, inside a character."""
    params = Params(tools=(LOOK,))
    stage.llm.burst = burst
    chunks = await stage.ask(params)
    for cut in range(len(chunks)):
        rest = await stage.ask(params, said_by(chunks[:cut]))
        assert said_by(chunks) == said_by(chunks[:cut] + rest), cut
        assert rest[-1].reasoning_tokens == chunks[-1].reasoning_tokens


async def test_one_call_unless_parallel(stage: Stage) -> None:
    chunks = await stage.ask(Params(tools=(LOOK,), parallel_tool_calls=False))
    assert said_by(chunks).calls == 1


async def test_a_grammar_for_calls_can_be_entered_before_the_first(stage: Stage) -> None:
    params = Params(tools=(LOOK,))
    chunks = await stage.ask(params)
    opened = next(place for place, chunk in enumerate(chunks) if any(delta.call for delta in chunk.deltas))
    await stage.ask(params, said_by(chunks[:20]), structured=object())
    with pytest.raises(CannotContinue):
        await stage.ask(params, said_by(chunks[: opened + 5]), structured=object())


async def test_a_forced_call_becomes_a_grammar(stage: Stage) -> None:
    request = stage.parsers.request(Params(tools=(LOOK,), tool_choice="required"))
    assert request.extract_structured_outputs() is not None


async def test_a_broken_tool_is_a_bad_parameter(stage: Stage) -> None:
    with pytest.raises(BadParameter):
        stage.parsers.request(Params(tools=({"type": "function", "name": 7},)))


async def test_unknown_parsers_are_named(tokenizer: Any) -> None:
    with pytest.raises(EngineError, match="--reasoning-parser"):
        Stage(tokenizer, "", "no_such_parser", None)


async def test_goes_on_at_every_token_of_plain_text(tokenizer: Any) -> None:
    stage = Stage(tokenizer, "Grüße 🙂 und mehr.", None, None)
    chunks = await stage.ask(Params(stop=("mehr",)))
    assert text_of(chunks) == "Grüße 🙂 und "
    for cut in range(len(chunks)):
        said = said_by(chunks[:cut])
        rest = await stage.ask(Params(stop=("mehr",)), said)
        assert said.text + text_of(rest) == text_of(chunks), cut
        assert rest[-1].finish is Finish.STOP


async def test_a_stop_string_frees_the_slot(tokenizer: Any) -> None:
    """The engine does not know it in a continuation, so the generation ends itself."""
    stage = Stage(tokenizer, "one two three", None, None)
    chunks = await stage.ask(Params(stop=("three",)), Said(tuple(tokenizer.encode("one tw")), "on"))
    assert text_of(chunks) == "e two "
    assert stage.llm.aborted == ["id"]


async def test_a_replay_of_the_complete_answer_only_finishes(tokenizer: Any) -> None:
    stage = Stage(tokenizer, "one", None, None)
    whole = await stage.ask(Params())
    rest = await stage.ask(Params(), said_by(whole))
    assert [chunk.finish for chunk in rest] == [Finish.STOP]
    assert ids_of(rest) == ()
