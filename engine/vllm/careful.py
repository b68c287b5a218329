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


class DeltaReader(Protocol):
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


class ParsedGeneration:
    """Replays what was said through decoder and reader, then lets the engine go on with prompt and said ids.

    Text is decoded here and read token by token, before the cut and behind it: what vLLM's parsers make of a text
    depends on where its deltas end, and vLLM merges those that wait for a slow consumer.
    """

    def __init__(
        self,
        llm: AsyncLLM,
        prompt: Prompt,
        sampling: SamplingParams,
        reader: DeltaReader,
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
        self._redecoder = Redecoder(llm.get_tokenizer(), prompt, sampling)

    async def stream(self, id: str, *, free: bool) -> AsyncGenerator[Chunk, None]:
        """`free` says that a grammar, if there is one, lets any text stand before what it rules."""
        deltas, ended = self._replay()
        if ended is None and self._amid_grammar(free):
            raise CannotContinue("the engine cannot enter a grammar in its middle")
        if deltas or ended is not None:
            yield Chunk(
                (), tuple(merged(deltas)), ended, reasoning_tokens=self._reader.reasoning_tokens if ended else 0
            )
        if ended is None:
            async for chunk in self._go_on(id):
                yield chunk

    def _amid_grammar(self, free: bool) -> bool:
        ruled = self._sampling.structured_outputs is not None and bool(self._said.token_ids)
        return ruled and (not free or self._reader.calls > 0)

    def _replay(self) -> tuple[list[Delta], Finish | None]:
        """What the said ids hold that was not shown, and the end when they reach it."""
        deltas, ended, _ = self._take(self._said.token_ids, self._end_of_said())
        return unsaid(deltas, self._said), ended

    def _take(self, ids: Sequence[int], ended: Finish | None) -> tuple[list[Delta], Finish | None, int]:
        """Read these ids; the last number tells how many of them there are up to a stop string."""
        deltas: list[Delta] = []
        for count, token_id in enumerate(ids, 1):
            reason = ended if count == len(ids) else None
            text, stopped = self._redecoder.feed([token_id], reason)
            reason = Finish.STOP if stopped else reason
            new = self._reader.read(text, [token_id], self._pending, finished=reason is not None)
            self._pending = () if new else self._pending
            deltas += new
            if stopped:
                return deltas, reason, count
        return deltas, ended, len(ids)

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
                chunk = self._read(output.outputs[0], output.num_cached_tokens or 0)
                ended = chunk.finish
                yield chunk
                if ended is not None:
                    break
        except Exception as error:
            raise translated(error) from error
        finally:
            if not finished:
                await abort(self._llm, id)

    def _remaining(self) -> SamplingParams:
        """For an engine that takes what was said for prompt. It must not look for stop strings: half may be there."""
        params = self._sampling.clone()
        if params.max_tokens is not None:
            params.max_tokens -= len(self._said.token_ids)
        params.stop = []
        params.output_text_buffer_length = 0
        params.detokenize = params.logprobs is not None
        return params

    def _read(self, completion: CompletionOutput, cached: int) -> Chunk:
        if self._sampling.logprobs is not None:
            self._pending += logprobs(completion, self._top_logprobs)
        deltas, ended, count = self._take(completion.token_ids, finish(completion.finish_reason))
        return Chunk(
            tuple(completion.token_ids[:count]),
            tuple(merged(deltas)),
            ended,
            min(cached, len(self._prompt.token_ids)),
            self._reader.reasoning_tokens if ended else 0,
        )


def merged(deltas: Sequence[Delta]) -> list[Delta]:
    """Neighbours in one channel as one."""
    result: list[Delta] = []
    for delta in deltas:
        last = result[-1] if result else None
        if last is not None and last.channel is delta.channel and delta.call is None:
            result[-1] = Delta(last.channel, last.text + delta.text, last.call, last.logprobs + delta.logprobs)
        else:
            result.append(delta)
    return result
