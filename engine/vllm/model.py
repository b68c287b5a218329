"""A loaded model: everything that needs vllm, behind the calls of engine.base.Engine."""

import asyncio
from argparse import Namespace
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from engine.base import BadParameter, Chunk, ChunkSink, EngineDead, Model, Params, Prompt, Said
from engine.vllm.direct import DirectGeneration
from engine.vllm.grammars import Grammars
from engine.vllm.identity import renders_alike, version
from engine.vllm.launch import launch, pids
from engine.vllm.merging import MergeTimer
from engine.vllm.options import parse
from engine.vllm.parsed import DeltaReader, ParsedGeneration, TextReader
from engine.vllm.parsers import OutputParsers
from engine.vllm.process import on_cpu
from engine.vllm.rendering import ChatRenderer, template_arguments
from engine.vllm.sampling import Sampling
from engine.vllm.structure import Structure, Structures
from engine.vllm.watchdog import Watchdog
from engine.vllm.whole import WholeAnswer


def load(model: str, name: str, options: Sequence[str], *, patience: float) -> "LoadedModel":
    """Load a model; blocks until the engine is ready. Raises EngineError."""
    args = parse(model, name, options)
    return LoadedModel(launch(args), args, name, patience=patience)


class LoadedModel:
    """The model, its engine and its parsers. Nothing of it survives the engine."""

    def __init__(self, llm: AsyncLLM, args: Namespace, name: str, *, patience: float) -> None:
        self._llm = llm
        self._watchdog = Watchdog(llm.engine_core.is_sleeping_async, pids(llm), patience=patience, busy=on_cpu())
        self._merges = MergeTimer()
        self._sampling = Sampling(llm)
        self._parsers = OutputParsers(llm, args.reasoning_parser, args.tool_call_parser)
        self._structures = Structures(Grammars(llm, patience=patience), self._parsers)
        self._renderer = ChatRenderer(llm, args.chat_template, args.chat_template_content_format)
        self.model = Model(
            name=name,
            version=version(llm, args),
            context=llm.model_config.max_model_len,
            slots=llm.vllm_config.scheduler_config.max_num_seqs,
            tools=self._parsers.tools,
            reasoning=self._parsers.reasoning,
            renders_alike=renders_alike(llm, args),
        )

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        """See `ChatRenderer.render`."""
        return await self._renderer.render(messages, params, salt, with_tools=self._parsers.offers(params))

    async def admit(self, prompt: Prompt, params: Params) -> Params:
        """Check the tools, then everything that `Sampling` checks, then the grammar."""
        self._check_tools(params)
        params = self._sampling.admit(prompt, params)
        await self._structures.get(params)
        return params

    def generate(
        self, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None
    ) -> AsyncGenerator[Chunk, None]:
        """A parsed generation where there is something to parse or to go on with, else a direct one."""
        structure = self._structures.known(params)
        if structure is None:
            return self._generate_later(id, prompt, params, said, sink)
        return self._generate(structure, id, prompt, params, said, sink)

    async def _generate_later(
        self, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None
    ) -> AsyncGenerator[Chunk, None]:
        """For a turn that another node admitted, or this one long ago: its grammar is compiled first."""
        structure = await self._structures.get(params)
        async with aclosing(self._generate(structure, id, prompt, params, said, sink)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _generate(
        self, structure: Structure, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None
    ) -> AsyncGenerator[Chunk, None]:
        parses = self._parsers.reads(params)
        sampling = self._sampling.for_vllm(params, structure)
        whole = None if structure.outputs is None else WholeAnswer()
        if not parses and not said.token_ids:
            direct = DirectGeneration(self._llm, sampling, params.top_logprobs, sink, self._merges, whole)
            return direct.stream(id, prompt)
        reader: DeltaReader = self._parsers.open(prompt, params) if parses else TextReader()
        text_first = params.format is None and params.tool_choice == "auto"
        generation = ParsedGeneration(
            self._llm,
            prompt,
            sampling,
            reader,
            said=said,
            top_logprobs=params.top_logprobs,
            extra=self._reasoner_arguments(params, structure),
            whole=None if text_first else whole,
        )
        return generation.stream(id, text_first=text_first)

    async def check(self) -> None:
        """Raise EngineDead for an engine that ended or hangs. Never waits."""
        if self._llm.errored:
            raise EngineDead("the engine's processes ended")
        self._watchdog.check()

    async def close(self) -> None:
        """End the engine. Generations that still run raise EngineDead."""
        self._watchdog.close()
        self._structures.close()
        self._llm.output_processor.propagate_error(EngineDeadError())
        await asyncio.to_thread(self.shutdown)

    def shutdown(self) -> None:
        """End the engine's processes; blocks meanwhile."""
        self._llm.shutdown()

    def _reasoner_arguments(self, params: Params, structure: Structure) -> dict[str, Any]:
        """A grammar must wait for the end of the reasoning, which the engine's own parser finds."""
        if not self._parsers.reasoning or structure.outputs is None:
            return {}
        return {"reasoning_parser_kwargs": {"chat_template_kwargs": template_arguments(params)}}

    def _check_tools(self, params: Params) -> None:
        names = [tool.get("name") for tool in params.tools if tool.get("type") == "function"]
        if len(names) < len(params.tools) or not all(isinstance(name, str) and name for name in names):
            raise BadParameter("tools", "only functions with a name can be called", unsupported=True)
        choice = params.tool_choice
        if choice in ("auto", "none"):
            return
        if not self._parsers.tools:
            raise BadParameter("tool_choice", "this model cannot be made to call functions", unsupported=True)
        if isinstance(choice, dict) and (choice.get("type") != "function" or choice.get("name") not in names):
            raise BadParameter("tool_choice", "names no function of tools")
        if not names or (isinstance(choice, str) and choice != "required"):
            raise BadParameter("tool_choice", "must be auto, none, required or a function of tools")
