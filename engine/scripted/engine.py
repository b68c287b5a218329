"""The scripted engine: generations that run, wait, fail or die on purpose."""

import asyncio
import math
import os
from collections.abc import AsyncGenerator
from itertools import accumulate
from typing import Any

import msgspec

from engine.base import (
    BadParameter,
    BadRequest,
    CannotContinue,
    Chunk,
    ChunkSink,
    EngineDead,
    EngineError,
    Model,
    Params,
    Prompt,
    Said,
)
from engine.offload import offloaded
from engine.ranges import check_ranges, tokens_left
from engine.schema import check_params
from engine.scripted.clock import StepClock
from engine.scripted.decoder import ScriptDecoder
from engine.scripted.example import example
from engine.scripted.generation import ScriptedGeneration
from engine.scripted.script import Levers, Script, estimated_size, write

CACHE_BLOCK = 16  # tokens
CACHE_BLOCKS = 1 << 16  # after which the prefix cache is emptied


class ScriptedEngine:
    """`rate` is in tokens per second and stream, 0 for as fast as possible. `levers` win over those in prompts."""

    def __init__(
        self,
        *,
        name: str = "scripted",
        version: str = "scripted-1",
        context: int = 1 << 17,
        slots: int = 64,
        rate: float = 0,
        levers: Levers | None = None,
    ) -> None:
        self.model = Model(name, version, context, slots, tools=True, reasoning=True)
        self.rate = rate
        self.levers = levers or Levers()  # may be replaced while the engine runs
        self.running: set[str] = set()  # ids of the generations that hold a slot
        self._dead: str | None = None  # why it is dead, once it is
        self._clock = StepClock()
        self._cache: set[int] = set()  # hashes of prompt beginnings

    async def start(self) -> None:
        pass

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        try:
            return Prompt(await offloaded(estimated_size(messages), write, messages), salt)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadRequest(f"a message without {error}") from error

    async def admit(self, prompt: Prompt, params: Params) -> Params:
        check_ranges(params)
        try:
            Levers().over(prompt.token_ids)
        except ValueError as error:
            raise BadParameter("input", str(error)) from error
        _check_tool_choice(params)
        check_params(params)
        if params.format is not None:
            example(params.format.schema or {})
        return msgspec.structs.replace(params, max_tokens=tokens_left(prompt, params, self.model.context))

    async def generate(
        self, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None = None
    ) -> AsyncGenerator[Chunk, None]:
        levers = self.levers.over(prompt.token_ids)
        for task in asyncio.all_tasks() if levers.cancel else ():
            if task.get_name() == levers.cancel:
                task.cancel()
        decoder = ScriptDecoder(Script(prompt.token_ids, params, levers), params)
        index = len(said.token_ids)
        self.running.add(id)
        try:
            rest, ended = decoder.replay(said)
            if ended is None and index and params.format is not None:
                raise CannotContinue("a structured answer starts at its beginning")
            if rest or ended is not None:
                yield Chunk((), tuple(rest), ended, reasoning_tokens=decoder.reasoning_tokens)
            due = self._clock.now() + (levers.first or 0)
            cached = self._cached(prompt)
            generation = ScriptedGeneration(
                decoder, levers, lambda: self.rate, index=index, due=due, cached=cached, sink=sink
            )
            while ended is None:
                chunk = await self._next(generation, levers)
                ended = chunk.finish
                yield chunk
        finally:
            self.running.discard(id)

    async def check(self) -> None:
        if self._dead is not None:
            raise EngineDead(self._dead)

    async def close(self) -> None:
        self.die("the engine was closed")

    def die(self, reason: str = "a lever killed the engine") -> None:
        """All generations raise EngineDead now, and every later one."""
        self._dead = self._dead or reason
        self._clock.wake_all()

    async def _next(self, generation: ScriptedGeneration, levers: Levers) -> Chunk:
        """The next chunk for the iterator; the last one always is. Raises EngineDead, or what a lever asks for."""
        while True:
            if generation.index in levers.stops:
                await self._apply_lever(generation.index, levers)
            await self.check()
            await self._clock.run(generation.due, generation.step)
            await self.check()
            if (chunk := generation.take_unsent()) is not None:
                return chunk

    async def _apply_lever(self, index: int, levers: Levers) -> None:
        if index == levers.exit:
            os._exit(1)
        if index == levers.die:
            self.die()
        if index == levers.fail:
            raise EngineError(f"a lever failed this generation at token {index}")
        if index == levers.hang:
            await self._clock.run(math.inf, lambda now: None)

    def _cached(self, prompt: Prompt) -> int:
        """Tokens at the start of this prompt that were seen before under its salt; notes those that were not."""
        if len(self._cache) > CACHE_BLOCKS:
            self._cache.clear()
        ids = prompt.token_ids
        blocks = (ids[end - CACHE_BLOCK : end] for end in range(CACHE_BLOCK, len(ids), CACHE_BLOCK))
        keys = list(accumulate(blocks, lambda key, block: hash((key, block)), initial=hash(prompt.salt)))[1:]
        seen = next((count for count, key in enumerate(keys) if key not in self._cache), len(keys))
        self._cache.update(keys)
        return seen * CACHE_BLOCK


def _check_tool_choice(params: Params) -> None:
    names = [tool.get("name") for tool in params.tools]
    if params.tool_choice == "required" and not names:
        raise BadParameter("tool_choice", "requires tools")
    if isinstance(params.tool_choice, dict) and params.tool_choice.get("name") not in names:
        raise BadParameter("tool_choice", "names no function of tools")
