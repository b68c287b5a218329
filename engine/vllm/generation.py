"""One generation without parsers, from its first token: the hot path."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

from vllm import exceptions
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from engine.base import (
    BadRequest,
    Channel,
    Chunk,
    ChunkSink,
    Delta,
    EngineDead,
    EngineError,
    Logprob,
    Overloaded,
    Prompt,
)
from engine.vllm.decode import finish, logprobs
from engine.vllm.gather import Gathering, Unsent

# Absent in vLLM 0.24, whose queue has no limit.
_FULL: type[Exception] = getattr(exceptions, "GracefulHTTPError", EngineDeadError)


class DirectGeneration:
    """Text as vLLM decodes it. With `sink`, a token costs neither a future nor a turn of a task nor two generators:
    vLLM's loop over an engine step puts it where it belongs, or leaves it until it is wanted."""

    def __init__(
        self, llm: AsyncLLM, sampling: SamplingParams, top_logprobs: int, sink: ChunkSink | None, gathering: Gathering
    ) -> None:
        self._llm = llm
        self._sampling = sampling
        self._top_logprobs = top_logprobs
        self._sink = sink
        self._gathering = gathering
        self._unsent: Unsent | None = None
        self._pending: tuple[Logprob, ...] = ()  # of tokens whose text is held back
        self._collect: Callable[[Any], None] | None = None  # an output that is not taken at once
        self._idle = False  # the iterator waits, and nothing is collected

    async def stream(self, id: str, prompt: Prompt) -> AsyncGenerator[Chunk, None]:
        """Closing this iterator aborts the generation."""
        ended = False
        given = engine_input(prompt)
        outputs = self._llm.generate(given, self._sampling, id) if self._sink is None else self._tapped(id, given)
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

    async def _tapped(self, id: str, given: dict[str, Any]) -> AsyncGenerator[RequestOutput, None]:
        """What AsyncLLM.generate does, from a collector that hands over what it can."""
        collector = await self._llm.add_request(id, given, self._sampling)
        self._unsent = Unsent(self._llm.output_processor.request_states[collector.request_id])
        self._collect, collector.put = collector.put, self._put
        try:
            ended = False
            while not ended:
                output = cast("RequestOutput", collector.get_nowait() or await self._next(collector))
                ended = output.finished
                yield output
        finally:
            self._gathering.forget(self._fetch)
            del collector.put  # a circle otherwise, and it has nobody to hand to

    async def _next(self, collector: RequestOutputCollector) -> RequestOutput:
        self._idle = True
        try:
            return cast("RequestOutput", await collector.get())
        finally:
            self._idle = False

    def _put(self, output: Any) -> None:
        """Called for each engine step, by the loop that serves all generations: it must not raise."""
        assert self._collect is not None
        self._gathering.forget(self._fetch)
        if not self._idle or self._sink is None or isinstance(output, Exception) or output.finished:
            self._idle = False
            self._collect(output)
            return
        before = self._pending
        try:
            if self._sink.try_push(self._chunk(output)):
                self._merge(self._sink.merge_until())
                return
        except Exception as error:
            self._idle = False
            self._collect(error)
        else:
            self._idle, self._pending = False, before
            self._collect(output)

    def _merge(self, due: float) -> None:
        if due > asyncio.get_running_loop().time():
            assert self._unsent is not None
            self._unsent.hold()
            self._gathering.until(due, self._fetch)

    def _fetch(self) -> None:
        """Likewise: one timer serves all generations."""
        assert self._unsent is not None
        try:
            output = self._unsent.fetch()
        except Exception as error:
            self._put(error)
        else:
            if output is not None:
                self._put(output)

    def _chunk(self, output: RequestOutput) -> Chunk:
        completion = output.outputs[0]
        text = completion.text
        if self._sampling.logprobs is not None:
            self._pending += logprobs(completion, self._top_logprobs)
        deltas = (Delta(Channel.TEXT, text, None, self._pending),) if text else ()
        if text:
            self._pending = ()
        ids, reason = tuple(completion.token_ids), finish(completion.finish_reason)
        return Chunk(ids, deltas, reason, output.num_cached_tokens or 0)


def engine_input(prompt: Prompt, said: Sequence[int] = ()) -> dict[str, Any]:
    """A rendered prompt as vLLM's renderer returns it."""
    rendered: dict[str, Any] = {"type": "token", "prompt_token_ids": [*prompt.token_ids, *said]}
    if prompt.salt is not None:
        rendered["cache_salt"] = prompt.salt
    return rendered


async def abort(llm: AsyncLLM, id: str) -> None:
    """Free the slot. vLLM does so too when it sees a cancellation, which a layer between may have swallowed."""
    with suppress(Exception):  # a dead engine has nothing to abort
        await llm.abort(id)


def translated(error: Exception) -> EngineError:
    """vLLM's exceptions in terms of engine.base; the order matters, they inherit from each other."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, EngineDeadError):
        return EngineDead("the engine's processes ended")
    if isinstance(error, _FULL):
        return Overloaded(str(error))
    if isinstance(error, exceptions.VLLMValidationError | ValueError):
        return BadRequest(str(error))
    return EngineError(f"the engine failed this generation: {error or type(error).__name__}")
