"""A generation whose text a parser reads, or which continues an answer that another engine began."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from vllm.outputs import CompletionOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import CannotContinue, Channel, Chunk, Delta, Finish, Logprob, Prompt, Said
from engine.unsaid import unsaid
from engine.vllm.decode import Redecoder, finish_of, logprobs_of
from engine.vllm.errors import translated
from engine.vllm.request import abort, engine_input
from engine.vllm.whole import WholeAnswer


class DeltaReader(Protocol):
    """Turns the text of one generation into deltas."""

    @property
    def calls(self) -> int:
        """Function calls that were opened."""
        ...

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of reasoning among those that were read."""
        ...

    def read(self, text: str, ids: Sequence[int], logprobs: tuple[Logprob, ...], *, finished: bool) -> list[Delta]:
        """The deltas that are settled once these ids, and the text that they add, were read."""
        ...


class TextReader:
    """The `DeltaReader` of a model without parsers: all of it is text."""

    calls = 0
    reasoning_tokens = 0

    def read(self, text: str, ids: Sequence[int], logprobs: tuple[Logprob, ...], *, finished: bool) -> list[Delta]:
        return [Delta(Channel.TEXT, text, logprobs=logprobs)] if text else []


class ParsedGeneration:
    """Replays what was said through decoder and reader, then has the engine continue from prompt and said ids.

    Text is decoded here and read token by token, before the cut and behind it: what vLLM's parsers make of a text
    depends on where its deltas end, and vLLM merges those that wait for a slow consumer. It pushes nothing to a sink.
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
        whole: WholeAnswer | None = None,
    ) -> None:
        self._llm = llm
        self._prompt = prompt
        self._sampling = sampling
        self._reader = reader
        self._said = said
        self._top_logprobs = top_logprobs
        self._extra = extra or {}  # keyword arguments for AsyncLLM.generate
        self._whole = whole  # of an answer that follows a grammar from its beginning
        self._pending: tuple[Logprob, ...] = ()  # of tokens whose text is held back
        self._redecoder = Redecoder(llm.get_tokenizer(), prompt, sampling)

    async def stream(self, id: str, *, text_first: bool) -> AsyncGenerator[Chunk, None]:
        """Closing this iterator aborts the generation. Raises CannotContinue where a grammar would be entered midway.

        `text_first` says that a grammar, if there is one, lets any text stand before what it constrains.
        """
        deltas, ended = self._replay()
        if ended is None and self._is_amid_grammar(text_first=text_first):
            raise CannotContinue("the engine cannot enter a grammar in its middle")
        if deltas or ended is not None:
            yield Chunk(
                (), tuple(_merged(deltas)), ended, reasoning_tokens=self._reader.reasoning_tokens if ended else 0
            )
        if ended is None:
            async for chunk in self._continue(id):
                yield chunk

    def _is_amid_grammar(self, *, text_first: bool) -> bool:
        constrained = self._sampling.structured_outputs is not None and bool(self._said.token_ids)
        return constrained and (not text_first or self._reader.calls > 0)

    def _replay(self) -> tuple[list[Delta], Finish | None]:
        """What the said ids hold that clients were not shown, and how the answer ended if they reach its end."""
        deltas, ended, _ = self._read_ids(self._said.token_ids, self._end_of_said())
        return unsaid(deltas, self._said), ended

    def _read_ids(self, ids: Sequence[int], ended: Finish | None) -> tuple[list[Delta], Finish | None, int]:
        """Deltas of these ids, how they end, and how many of them there are up to a stop string."""
        deltas: list[Delta] = []
        for count, token_id in enumerate(ids, 1):
            reason = ended if count == len(ids) else None
            text, stopped = self._redecoder.feed([token_id], reason)
            reason = Finish.STOP if stopped else reason
            new = self._reader.read(text, [token_id], self._pending, finished=reason is not None)
            self._pending = () if new else self._pending
            deltas += new
            if self._whole is not None:
                self._whole.add(new)
            if stopped:
                return deltas, reason, count
        if self._whole is not None and ended is Finish.STOP:
            self._whole.check()
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

    async def _continue(self, id: str) -> AsyncGenerator[Chunk, None]:
        ended: Finish | None = None
        finished = False  # by the engine itself
        prompt = engine_input(self._prompt, self._said.token_ids)
        try:
            async for output in self._llm.generate(prompt, self._remaining_sampling(), id, **self._extra):
                finished = output.finished
                chunk = self._chunk(output.outputs[0], output.num_cached_tokens or 0)
                ended = chunk.finish
                yield chunk
                if ended is not None:
                    break
        except Exception as error:
            raise translated(error) from error
        finally:
            if not finished:
                await abort(self._llm, id)

    def _remaining_sampling(self) -> SamplingParams:
        """For an engine that sees what was said as prompt. It must not look for stop strings: one may have begun."""
        params = self._sampling.clone()
        if params.max_tokens is not None:
            params.max_tokens -= len(self._said.token_ids)
        params.stop = []
        params.output_text_buffer_length = 0
        params.detokenize = params.logprobs is not None
        return params

    def _chunk(self, completion: CompletionOutput, cached: int) -> Chunk:
        if self._sampling.logprobs is not None:
            self._pending += logprobs_of(completion, self._top_logprobs)
        deltas, ended, count = self._read_ids(completion.token_ids, finish_of(completion.finish_reason))
        return Chunk(
            tuple(completion.token_ids[:count]),
            tuple(_merged(deltas)),
            ended,
            min(cached, len(self._prompt.token_ids)),
            self._reader.reasoning_tokens if ended else 0,
        )


def _merged(deltas: Sequence[Delta]) -> list[Delta]:
    """The same with neighbours of one channel joined."""
    result: list[Delta] = []
    for delta in deltas:
        last = result[-1] if result else None
        if last is not None and last.channel is delta.channel and delta.call is None:
            result[-1] = Delta(last.channel, last.text + delta.text, last.call, last.logprobs + delta.logprobs)
        else:
            result.append(delta)
    return result
