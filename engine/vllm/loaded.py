"""A loaded model: everything that needs vllm, behind the calls of engine.base.Engine."""

import asyncio
from argparse import Namespace
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from vllm.exceptions import VLLMValidationError
from vllm.renderers import ChatParams, TokenizeParams
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from engine.base import BadParameter, BadRequest, Chunk, ChunkSink, EngineDead, Model, Params, Prompt, Said
from engine.vllm import load
from engine.vllm.careful import DeltaReader, ParsedGeneration, TextReader
from engine.vllm.channels import Parsing, template_arguments, template_tools
from engine.vllm.gather import Gathering
from engine.vllm.generation import DirectGeneration
from engine.vllm.process import on_cpu
from engine.vllm.pulse import Pulse
from engine.vllm.sampling import Sampling

# Characters that are rendered where they are. Threads cost two hops each, for template and tokenizer, and each may wait
# for the interpreter while the event loop is busy; a longer text would hold up the event loop for more than that.
SHORT = 4096


def loaded(model: str, name: str, options: Sequence[str], *, patience: float) -> "LoadedModel":
    """Load a model; blocks until the engine is ready."""
    args = load.parse(model, name, options)
    return LoadedModel(load.launch(args), args, name, patience=patience)


class LoadedModel:
    """The model, its engine and its parsers. Nothing of it survives the engine."""

    def __init__(self, llm: AsyncLLM, args: Namespace, name: str, *, patience: float) -> None:
        self._llm = llm
        self._pulse = Pulse(llm.engine_core.is_sleeping_async, load.pids(llm), patience=patience, busy=on_cpu())
        self._gathering = Gathering()
        self._sampling = Sampling(llm, load.defaults(llm))
        self._parsing = Parsing(llm, args.reasoning_parser, args.tool_call_parser)
        self._template: str | None = args.chat_template
        self._content_format: str = args.chat_template_content_format
        self.model = Model(
            name=name,
            version=load.version(llm, args),
            context=llm.model_config.max_model_len,
            slots=llm.vllm_config.scheduler_config.max_num_seqs,
            tools=self._parsing.tools,
            reasoning=self._parsing.reasoning,
            renders_alike=load.renders_alike(llm, args),
        )

    async def render(self, messages: list[dict[str, Any]], params: Params, salt: str | None) -> Prompt:
        """Special tokens are split off by the tokenizer wherever they stand, so a user who writes `<|im_end|>` ends
        their own message: vLLM renders a chat to one string first. Whoever must prevent that strips them before.
        """
        for message in messages:
            _check_message(message)
        chat = ([messages], self._chat(params), TokenizeParams(max_total_tokens=None, add_special_tokens=False))
        renderer = self._llm.renderer
        try:
            is_short = not params.tools and sum(map(_length, messages)) <= SHORT
            _, (rendered,) = renderer.render_chat(*chat) if is_short else await renderer.render_chat_async(*chat)
        except (VLLMValidationError, ValueError, TypeError, TimeoutError) as error:
            raise BadRequest(f"the chat template refuses this input: {error}") from error
        return Prompt(tuple(rendered["prompt_token_ids"]), salt)

    def admit(self, prompt: Prompt, params: Params) -> Params:
        self._check_tools(params)
        params = self._sampling.admit(prompt, params)
        if self._reads(params):
            self._sampling.verify(self._adjusted(params), params.format)
        return params

    def generate(
        self, id: str, prompt: Prompt, params: Params, said: Said, sink: ChunkSink | None
    ) -> AsyncGenerator[Chunk, None]:
        reads = self._reads(params)
        if not reads and not said.token_ids:
            plain = DirectGeneration(self._llm, self._sampling.of(params), params.top_logprobs, sink, self._gathering)
            return plain.stream(id, prompt)
        reader: DeltaReader = self._parsing.open(prompt, params) if reads else TextReader()
        sampling = self._adjusted(params) if reads else self._sampling.of(params)
        careful = ParsedGeneration(
            self._llm,
            prompt,
            sampling,
            reader,
            said=said,
            top_logprobs=params.top_logprobs,
            extra=self._reasoner(params, sampling),
        )
        return careful.stream(id, free=params.format is None and params.tool_choice == "auto")

    async def check(self) -> None:
        if self._llm.errored:
            raise EngineDead("the engine's processes ended")
        self._pulse.check()

    async def close(self) -> None:
        """Generations that still run raise EngineDead."""
        self._pulse.close()
        self._llm.output_processor.propagate_error(EngineDeadError())
        await asyncio.to_thread(self.shutdown)

    def shutdown(self) -> None:
        """Ends the engine's processes; blocks meanwhile."""
        self._llm.shutdown()

    def _chat(self, params: Params) -> ChatParams:
        arguments = template_arguments(params) | {"tokenize": False}
        if self._offers(params):
            arguments["tools"] = template_tools(params)
        return ChatParams(
            chat_template=self._template,
            chat_template_content_format=self._content_format,
            chat_template_kwargs=arguments,
        )

    def _offers(self, params: Params) -> bool:
        """Without a parser a call would be shown as text, so the model is not told of the tools."""
        return self._parsing.tools and bool(params.tools) and params.tool_choice != "none"

    def _reads(self, params: Params) -> bool:
        return self._parsing.reasoning or self._offers(params)

    def _adjusted(self, params: Params) -> SamplingParams:
        """A parser may need special tokens in the text, and turns a forced call into a grammar."""
        request = self._parsing.request(params)
        sampling = self._sampling.of(msgspec.structs.replace(params, format=None))
        sampling.skip_special_tokens = request.skip_special_tokens
        sampling.structured_outputs = request.extract_structured_outputs()
        return sampling

    def _reasoner(self, params: Params, sampling: SamplingParams) -> dict[str, Any]:
        """A grammar must wait for the end of the reasoning, which the engine's own parser finds."""
        if not self._parsing.reasoning or sampling.structured_outputs is None:
            return {}
        return {"reasoning_parser_kwargs": {"chat_template_kwargs": template_arguments(params)}}

    def _check_tools(self, params: Params) -> None:
        names = [tool.get("name") for tool in params.tools if tool.get("type") == "function"]
        if len(names) < len(params.tools) or not all(isinstance(name, str) and name for name in names):
            raise BadParameter("tools", "only functions with a name can be called", unsupported=True)
        choice = params.tool_choice
        if choice in ("auto", "none"):
            return
        if not self._parsing.tools:
            raise BadParameter("tool_choice", "this model cannot be made to call functions", unsupported=True)
        if isinstance(choice, dict) and (choice.get("type") != "function" or choice.get("name") not in names):
            raise BadParameter("tool_choice", "names no function of tools")
        if not names or (isinstance(choice, str) and choice != "required"):
            raise BadParameter("tool_choice", "must be auto, none, required or a function of tools")


def _length(message: dict[str, Any]) -> int:
    content = message.get("content") or ""
    return len(content) if isinstance(content, str) else sum(len(part["text"]) for part in content)


def _check_message(message: dict[str, Any]) -> None:
    """vLLM would fetch pictures from wherever a message says."""
    if not isinstance(message.get("role"), str):
        raise BadRequest("a message without a role")
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    if not all(part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts):
        raise BadRequest("this model reads text only")
