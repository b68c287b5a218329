"""A generation whose text is vLLM's own, without parsers and from its first token: the hot path."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestOutputCollector

from engine.base import Channel, Chunk, ChunkSink, Delta, Finish, Logprob, Prompt
from engine.vllm.decode import finish_of, logprobs_of
from engine.vllm.errors import translated
from engine.vllm.merging import HeldTokens, MergeTimer
from engine.vllm.request import abort, engine_input
from engine.vllm.whole import WholeAnswer


class DirectGeneration:
    """Chunks as vLLM decodes them.

    With a sink, vLLM's loop over the outputs of an engine step pushes each chunk itself: a token costs neither a
    future, nor a task's turn, nor two generators.
    """

    def __init__(
        self,
        llm: AsyncLLM,
        sampling: SamplingParams,
        top_logprobs: int,
        sink: ChunkSink | None,
        merges: MergeTimer,
        whole: WholeAnswer | None = None,
    ) -> None:
        self._llm = llm
        self._sampling = sampling
        self._top_logprobs = top_logprobs
        self._sink = sink
        self._merges = merges
        self._whole = whole  # of an answer that follows a grammar
        self._held: HeldTokens | None = None  # set once the request was added
        self._pending: tuple[Logprob, ...] = ()  # of tokens whose text is held back
        self._collect: Callable[[Any], None] | None = None  # vLLM's own `put`: hands an output to the iterator
        self._idle = False  # the iterator waits and the collector is empty: only then may a chunk be pushed

    async def stream(self, id: str, prompt: Prompt) -> AsyncGenerator[Chunk, None]:
        """Yield what was not pushed. Closing this iterator aborts the generation."""
        ended = False
        request = engine_input(prompt)
        outputs = self._llm.generate(request, self._sampling, id) if self._sink is None else self._tapped(id, request)
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    ended = output.finished
                    yield self._chunk(output)
        except Exception as error:
            raise translated(error) from error
        finally:
            if not ended:
                await abort(self._llm, id)

    async def _tapped(self, id: str, request: dict[str, Any]) -> AsyncGenerator[RequestOutput, None]:
        """`AsyncLLM.generate` with a collector whose `put` tries the sink first."""
        collector = await self._llm.add_request(id, request, self._sampling)
        self._held = HeldTokens(self._llm.output_processor.request_states[collector.request_id])
        self._collect, collector.put = collector.put, self._put
        try:
            ended = False
            while not ended:
                output = cast("RequestOutput", collector.get_nowait() or await self._next(collector))
                ended = output.finished
                yield output
        finally:
            self._merges.cancel(self._push_held)
            del collector.put  # it refers to this object, which refers to the collector

    async def _next(self, collector: RequestOutputCollector) -> RequestOutput:
        self._idle = True
        try:
            return cast("RequestOutput", await collector.get())
        finally:
            self._idle = False

    def _put(self, output: Any) -> None:
        """Called for each engine step by the loop that serves all generations, so it must not raise."""
        assert self._collect is not None
        self._merges.cancel(self._push_held)
        if not self._idle or self._sink is None or isinstance(output, Exception) or output.finished:
            self._idle = False
            self._collect(output)
            return
        before = self._pending
        try:
            if self._sink.try_push(self._chunk(output)):
                self._merge(self._sink.merge_until())
                return
        except Exception as error:  # a bug in the sink fails this generation alone
            self._idle = False
            self._collect(error)
        else:
            self._idle, self._pending = False, before
            self._collect(output)

    def _merge(self, until: float) -> None:
        if until > asyncio.get_running_loop().time():
            assert self._held is not None
            self._held.hold()
            self._merges.call_at(until, self._push_held)

    def _push_held(self) -> None:
        """Called by the timer that serves all generations, so it must not raise either."""
        assert self._held is not None
        try:
            output = self._held.release()
        except Exception as error:
            self._put(error)
        else:
            if output is not None:
                self._put(output)

    def _chunk(self, output: RequestOutput) -> Chunk:
        completion = output.outputs[0]
        text = completion.text
        if self._sampling.logprobs is not None:
            self._pending += logprobs_of(completion, self._top_logprobs)
        deltas = (Delta(Channel.TEXT, text, None, self._pending),) if text else ()
        if text:
            self._pending = ()
        ids, finish = tuple(completion.token_ids), finish_of(completion.finish_reason)
        if self._whole is not None:
            self._whole.add(deltas)
            if finish is Finish.STOP and not isinstance(completion.stop_reason, str):
                self._whole.check()
        return Chunk(ids, deltas, finish, output.num_cached_tokens or 0)
