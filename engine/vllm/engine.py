"""The engine of a node: vLLM's AsyncLLM behind engine.base.Engine."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from engine.base import BadRequest, Chunk, ChunkSink, EngineDead, EngineError, Model, Params, Prompt, Said
from engine.vllm import process

if TYPE_CHECKING:
    from engine.vllm.model import LoadedModel


class VllmEngine:
    """One model in one vLLM engine. `options` are vLLM's own, as a user writes them after `vllm serve MODEL`."""

    def __init__(
        self,
        model: str,
        name: str,
        options: Sequence[str] = (),
        *,
        logging_config: str | None = None,
        patience: float = 8.0,
    ) -> None:
        self._path = model
        self._name = name
        self._options = tuple(options)
        self._logging_config = logging_config  # a path, see process.preload
        self._patience = patience  # seconds without progress until `check` raises EngineDead
        self._loaded: LoadedModel | None = None  # from `start` to `close`
        self._closed = False

    @property
    def model(self) -> Model:
        return self._running().model

    async def start(self) -> None:
        """See `Engine.start`. Imports and loading happen in a thread, so the event loop stays responsive.

        Cancelling ends the engine's processes; the thread itself ends with its imports.
        """
        self._closed = False
        process.preload(self._path, self._options, logging_config=self._logging_config)
        try:
            await asyncio.to_thread(self._load)
            await self._warm_up()
        except BaseException:
            await self.close()
            raise

    def _load(self) -> None:
        try:
            from engine.vllm.model import load
        except ImportError as error:
            raise EngineError(f"vLLM cannot be imported: {error}") from error
        if not self._closed:
            self._loaded = load(self._path, self._name, self._options, patience=self._patience)
        if self._closed and self._loaded is not None:
            self._loaded.shutdown()
            process.stop()

    async def _warm_up(self) -> None:
        """A failure before the first request would go unseen, and so would a model that cannot chat."""
        params = Params(max_tokens=1, ignore_eos=True)
        try:
            prompt = await self.render([{"role": "user", "content": "Hello"}], params, None)
        except BadRequest as error:
            raise EngineError(f"the model {self._path} takes no chat messages: {error}") from error
        async for _ in self.generate("warm-up", prompt, params, Said()):
            pass

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        return await self._running().render(messages, params, salt)

    async def admit(self, prompt: Prompt, params: Params) -> Params:
        return await self._running().admit(prompt, params)

    def generate(
        self, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None = None
    ) -> AsyncGenerator[Chunk, None]:
        return self._running().generate(id, prompt, params, said, sink)

    async def check(self) -> None:
        """See `Engine.check`. Call it about once a second: it also finds an engine that is alive and frozen."""
        await self._running().check()

    async def close(self) -> None:
        self._closed = True
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await loaded.close()
        await asyncio.to_thread(process.stop)

    def _running(self) -> "LoadedModel":
        if self._loaded is None:
            raise EngineDead("the engine is not running")
        return self._loaded
