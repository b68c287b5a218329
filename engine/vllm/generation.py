"""One generation without parsers, from its first token: the hot path."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from vllm import exceptions
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from engine.base import BadRequest, Channel, Chunk, Delta, EngineDead, EngineError, Logprob, Overloaded, Prompt
from engine.vllm.decode import finish, logprobs

# Absent in vLLM 0.24, whose queue has no limit.
_FULL: type[Exception] = getattr(exceptions, "GracefulHTTPError", EngineDeadError)


async def plain(
    llm: AsyncLLM, id: str, prompt: Prompt, sampling: SamplingParams, top_logprobs: int
) -> AsyncGenerator[Chunk, None]:
    """Text as vLLM decodes it. Closing this iterator aborts the generation."""
    ended = False
    pending: tuple[Logprob, ...] = ()  # of tokens whose text is held back
    try:
        async for output in llm.generate(engine_input(prompt), sampling, id):
            completion = output.outputs[0]
            text = completion.text
            if sampling.logprobs is not None:
                pending += logprobs(completion, top_logprobs)
            deltas = (Delta(Channel.TEXT, text, None, pending),) if text else ()
            if text:
                pending = ()
            ended = completion.finish_reason is not None
            yield Chunk(
                tuple(completion.token_ids), deltas, finish(completion.finish_reason), output.num_cached_tokens or 0
            )
    except Exception as error:
        raise translated(error) from error
    finally:
        if not ended:
            await abort(llm, id)


def engine_input(prompt: Prompt, said: Sequence[int] = ()) -> dict[str, Any]:
    """A rendered prompt as vLLM's renderer returns it."""
    rendered: dict[str, Any] = {"type": "token", "prompt_token_ids": [*prompt.token_ids, *said]}
    if prompt.salt is not None:
        rendered["cache_salt"] = prompt.salt
    return rendered


async def abort(llm: AsyncLLM, id: str) -> None:
    """Free the slot. vLLM does so too when it sees a cancellation, which a layer between may have swallowed."""
    with contextlib.suppress(Exception):  # a dead engine has nothing to abort
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
