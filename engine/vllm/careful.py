"""One generation whose text a parser reads, or which goes on behind what was said already."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from vllm.outputs import CompletionOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import CannotContinue, Channel, Chunk, Delta, Finish, Logprob, Prompt, Said
from engine.unsaid import unsaid
from engine.vllm.decode import Redecoder, finish, logprobs
from engine.vllm.generation import abort, engine_input, translated


class Reader(Protocol):
    """Turns the text of one generation into deltas."""

    @property
    def calls(self) -> int:
        """Function calls that were opened."""
        ...

    @property
    def reasoning_tokens(self) -> int: ...

    def read(self, text: str, ids: Sequence[int], logprobs: tuple[Logprob, ...], *, finished: bool) -> list[Delta]: ...


class TextReader:
    """All of it is text."""

    calls = 0
    reasoning_tokens = 0

    def read(self, text: str, ids: Sequence[int], logprobs: tuple[Logprob, ...], *, finished: bool) -> list[Delta]:
        return [Delta(Channel.TEXT, text, logprobs=logprobs)] if text else []


class Careful:
    """Replays what was said through decoder and reader, then lets the engine go on with prompt and said ids."""

    def __init__(
        self,
        llm: AsyncLLM,
        prompt: Prompt,
        sampling: SamplingParams,
        reader: Reader,
        *,
        said: Said,
        top_logprobs: int = 0,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._llm = llm
        self._prompt = prompt
        self._sampling = sampling
        self._reader = reader
        self._said = said
        self._top_logprobs = top_logprobs
        self._extra = extra or {}  # for AsyncLLM.generate
        self._pending: tuple[Logprob, ...] = ()  # of tokens whose text is held back
        self._redecoder = Redecoder(llm.get_tokenizer(), prompt, sampling) if said.token_ids else None

    async def stream(self, id: str, *, free: bool) -> AsyncGenerator[Chunk, None]:
        """`free` says that a grammar, if there is one, lets any text stand before what it rules."""
        deltas, ended = self._replay()
        if ended is None and self._amid_grammar(free):
            raise CannotContinue("the engine cannot enter a grammar in its middle")
        if deltas or ended is not None:
            yield Chunk((), tuple(deltas), ended, reasoning_tokens=self._reader.reasoning_tokens if ended else 0)
        if ended is None:
            async for chunk in self._go_on(id):
                yield chunk

    def _amid_grammar(self, free: bool) -> bool:
        ruled = self._sampling.structured_outputs is not None and bool(self._said.token_ids)
        return ruled and (not free or self._reader.calls > 0)

    def _replay(self) -> tuple[list[Delta], Finish | None]:
        """What the said ids hold that was not shown, and the end when they reach it."""
        deltas: list[Delta] = []
        ended = self._end_of_said()
        last = len(self._said.token_ids) - 1
        for position, token_id in enumerate(self._said.token_ids):
            assert self._redecoder is not None
            text, stopped = self._redecoder.feed([token_id], ended if position == last else None)
            ended = Finish.STOP if stopped else ended
            deltas += self._reader.read(text, [token_id], (), finished=position == last and ended is not None)
        return unsaid(deltas, self._said), ended

    def _end_of_said(self) -> Finish | None:
        """The ids may be complete: their node died between its last chunk and the finish."""
        said = self._said.token_ids
        if said and said[-1] in self._stop_ids():
            return Finish.STOP
        context = self._llm.model_config.max_model_len - len(self._prompt.token_ids)
        return Finish.LENGTH if len(said) >= min(self._sampling.max_tokens or context, context) else None

    def _stop_ids(self) -> set[int | None]:
        """As vLLM's input processor fills them in."""
        params = self._sampling.clone()
        fields = self._llm.input_processor.generation_config_fields
        params.update_from_generation_config(fields, self._llm.renderer.get_eos_token_id())
        return {*(params.stop_token_ids or ()), params.eos_token_id}

    async def _go_on(self, id: str) -> AsyncGenerator[Chunk, None]:
        ended: Finish | None = None
        finished = False  # by the engine itself
        prompt = engine_input(self._prompt, self._said.token_ids)
        try:
            async for output in self._llm.generate(prompt, self._remaining(), id, **self._extra):
                finished = output.finished
                completion = output.outputs[0]
                deltas, ended = self._read(completion)
                cached = min(output.num_cached_tokens or 0, len(self._prompt.token_ids))
                reasoning = self._reader.reasoning_tokens if ended else 0
                yield Chunk(tuple(completion.token_ids), tuple(deltas), ended, cached, reasoning)
                if ended is not None:
                    break
        except Exception as error:
            raise translated(error) from error
        finally:
            if not finished:
                await abort(self._llm, id)

    def _remaining(self) -> SamplingParams:
        """For an engine that takes what was said for prompt. It must not look for stop strings: half may be there."""
        if not self._said.token_ids:
            return self._sampling
        params = self._sampling.clone()
        if params.max_tokens is not None:
            params.max_tokens -= len(self._said.token_ids)
        params.stop = []
        params.output_text_buffer_length = 0
        return params

    def _read(self, completion: CompletionOutput) -> tuple[list[Delta], Finish | None]:
        text, ended = completion.text, finish(completion.finish_reason)
        if self._redecoder is not None:
            text, stopped = self._redecoder.feed(list(completion.token_ids), ended)
            ended = Finish.STOP if stopped else ended
        if self._sampling.logprobs is not None:
            self._pending += logprobs(completion, self._top_logprobs)
        deltas = self._reader.read(text, completion.token_ids, self._pending, finished=ended is not None)
        if deltas:
            self._pending = ()
        return deltas, ended
