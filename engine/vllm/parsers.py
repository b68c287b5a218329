"""vLLM's reasoning and tool parsers, which split a model's text into channels."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import ValidationError
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.exceptions import VLLMValidationError
from vllm.parser import ParserManager
from vllm.v1.engine.async_llm import AsyncLLM

from engine.base import BadParameter, Channel, Delta, EngineError, Logprob, Params, Prompt, ToolCall
from engine.vllm.rendering import template_arguments


class OutputParsers:
    """The parsers that an operator chose for a model, if any."""

    def __init__(self, llm: AsyncLLM, reasoning: str | None, tools: str | None) -> None:
        self._llm = llm
        self.reasoning = bool(reasoning)
        self.tools = bool(tools)
        self._parser = _parser_class(llm, reasoning or None, tools or None)

    def __bool__(self) -> bool:
        return self._parser is not None

    def offers(self, params: Params) -> bool:
        """Without a parser a call would be shown as text, so the model is not told of the tools."""
        return self.tools and bool(params.tools) and params.tool_choice != "none"

    def reads(self, params: Params) -> bool:
        """Whether there is anything in the text for a parser to find."""
        return self.reasoning or self.offers(params)

    def request(self, params: Params) -> ResponsesRequest:
        """The request as vLLM's parsers want to see it, adjusted by them. Raises BadParameter."""
        request = self._unadjusted(params)
        try:
            return self._new(request, params).adjust_request(request)
        except (VLLMValidationError, ValueError) as error:
            raise BadParameter("tools", str(error)) from error

    def grammar_request(
        self, params: Params, tools: tuple[dict[str, Any], ...], *, with_format: bool
    ) -> ResponsesRequest:
        """The request in which vLLM's parsers turn calls into a grammar. Raises BadParameter.

        It has no format of its own: beside one, vLLM lets a model call only what a grammar describes whole, which is
        asked for here as if a call were required.
        """
        strict = any(tool.get("strict") is True for tool in tools)
        choice = "required" if with_format and strict and params.tool_choice == "auto" else params.tool_choice
        return self.request(msgspec.structs.replace(params, format=None, tools=tools, tool_choice=choice))

    def open(self, prompt: Prompt, params: Params) -> "ChannelReader":
        """The reader for a new generation."""
        request = self.request(params)
        parser = self._new(request, params)
        parser.set_prompt_token_ids(prompt.token_ids)
        return ChannelReader(parser, request, prompt, parallel=params.parallel_tool_calls)

    def _new(self, request: ResponsesRequest, params: Params) -> Any:
        assert self._parser is not None
        return self._parser(
            self._llm.get_tokenizer(),
            request.tools,
            chat_template_kwargs=template_arguments(params),
            model_config=self._llm.model_config,
        )

    def _unadjusted(self, params: Params) -> ResponsesRequest:
        tools = [dict(tool) for tool in params.tools] if self.tools else []
        choice = params.tool_choice if tools else "none"
        body = {"input": "", "tools": tools, "tool_choice": choice, "parallel_tool_calls": params.parallel_tool_calls}
        if params.format is not None:
            body["text"] = {"format": _format(params)}
        try:
            return ResponsesRequest.model_validate(body)
        except (ValidationError, VLLMValidationError, ValueError) as error:
            raise BadParameter("tools", _first_line(error)) from error


class ChannelReader:
    """The `DeltaReader` of one generation with parsers. It has to read every token from the first on, in order."""

    def __init__(self, parser: Any, request: ResponsesRequest, prompt: Prompt, *, parallel: bool) -> None:
        self._parser = parser
        self._request = request
        self._prompt = list(prompt.token_ids)
        self._parallel = parallel
        self._opened: dict[int, int] = {}  # our index of each call, by the parser's
        self._ids: list[int] = []  # all so far, to count those of reasoning
        self._reasoned = False  # whether there was any

    @property
    def calls(self) -> int:
        """Function calls that were opened."""
        return len(self._opened)

    @property
    def reasoning_tokens(self) -> int:
        """Its markers included. vLLM's own count sees nothing where the prompt opens the reasoning."""
        parser = self._parser.reasoning_parser
        if parser is None or not self._reasoned:
            return 0
        return len(self._ids) - len(parser.extract_content_ids(self._ids))

    def read(self, text: str, ids: Sequence[int], logprobs: tuple[Logprob, ...], *, finished: bool) -> list[Delta]:
        """See `DeltaReader.read`."""
        self._ids += ids
        message = self._parser.parse_delta(text, list(ids), self._request, self._prompt, finished=finished)
        if message is None:
            return []
        self._reasoned |= bool(message.reasoning)
        deltas = [Delta(Channel.REASONING, message.reasoning)] if message.reasoning else []
        if message.content:
            deltas.append(Delta(Channel.TEXT, message.content, logprobs=logprobs))
        return deltas + [delta for call in message.tool_calls or () for delta in self._call(call)]

    def _call(self, call: Any) -> list[Delta]:
        arguments = (call.function.arguments if call.function else None) or ""
        name = call.function.name if call.function else None
        if call.index in self._opened:
            return [Delta(Channel.TOOL, arguments)] if arguments and self._wanted(self._opened[call.index]) else []
        if not name:
            return []
        index = self._opened[call.index] = len(self._opened)
        if not self._wanted(index):
            return []
        return [Delta(Channel.TOOL, arguments, ToolCall(index, call.id or f"call_{uuid.uuid4().hex}", name))]

    def _wanted(self, index: int) -> bool:
        return self._parallel or index == 0


def _format(params: Params) -> dict[str, Any]:
    assert params.format is not None
    if params.format.type == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "name": "answer", "schema": params.format.schema or {}}


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)


def _parser_class(llm: AsyncLLM, reasoning: str | None, tools: str | None) -> Any:
    try:
        return ParserManager.get_parser(
            tool_parser_name=tools,
            reasoning_parser_name=reasoning,
            enable_auto_tools=tools is not None,
            model_name=llm.model_config.model,
            is_harmony=llm.model_config.hf_config.model_type == "gpt_oss",
            tokenizer=llm.get_tokenizer(),
        )
    except TypeError as error:
        raise EngineError(f"--reasoning-parser or --tool-call-parser: {error}") from error
