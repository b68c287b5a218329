"""The grammar that an answer follows: from a request's schemas and tools to what vLLM is given."""

import hashlib
import json
from collections import OrderedDict
from typing import Any

import msgspec
from vllm.sampling_params import StructuredOutputsParams

from engine.base import BadParameter, Params
from engine.schema import FORMAT, blame, convert, enforced_tools, forces, tool_path
from engine.vllm.grammars import GUIDANCE, TOO_COMPLEX, Grammars, TryOuts
from engine.vllm.lark import LarkGrammar, Untranslatable
from engine.vllm.parsers import OutputParsers

KEPT = 64  # grammars
PATIENCE = 3.0  # seconds


class Structure(msgspec.Struct, frozen=True):
    """What a request's schemas and tools mean for sampling."""

    outputs: StructuredOutputsParams | None = None
    skip_special_tokens: bool = True


PLAIN = Structure()


class Structures:
    """Builds the structure of each request once, and has tried it out before anybody sees it."""

    def __init__(self, grammars: Grammars, parsers: OutputParsers, *, patience: float = PATIENCE) -> None:
        self._grammars = grammars
        self._parsers = parsers
        self._tries = TryOuts(patience=patience)
        self._kept: OrderedDict[bytes, Structure] = OrderedDict()

    async def get(self, params: Params) -> Structure:
        """Raises BadParameter, by name, for what the engine cannot hold an answer to."""
        known = self.known(params)
        if known is not None:
            return known
        try:
            made: Structure = await self._tries.run(self._build, params)
        except TimeoutError as error:
            raise BadParameter(_whole(params), TOO_COMPLEX) from error
        self._kept[_key(params)] = made
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return made

    def known(self, params: Params) -> Structure | None:
        """One that was built before, and that of a request without schemas and tools."""
        if params.format is None and not self._parsers.reads(params):
            return PLAIN
        key = _key(params)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def close(self) -> None:
        """Wait for nothing."""
        self._tries.close()

    # -- in a thread ---------------------------------------------------------------------------------------------

    def _build(self, params: Params) -> Structure:
        schema = _schema(params)
        if not self._parsers.reads(params):
            return Structure(self._of_schema(schema, params))
        tools = enforced_tools(params) if self._parsers.offers(params) else ()
        request = self._parsers.grammar_request(params, tools, with_format=schema is not None)
        outputs = request.extract_structured_outputs()
        if not forces(params) and schema is not None:
            outputs = None  # a call would not fit the format, and nothing is known of how it should look
        outputs = self._of_calls(outputs, params, schema)
        if outputs is None and _is_forced(params) and tools:
            raise BadParameter("tool_choice", "this model cannot be held to a call", unsupported=True)
        return Structure(outputs or self._of_schema(schema, params), request.skip_special_tokens)

    def _of_schema(self, schema: dict[str, Any] | None, params: Params) -> StructuredOutputsParams | None:
        if schema is None:
            return None
        outputs = self._marked(StructuredOutputsParams(json=json.dumps(schema)))
        if self._grammars.refusal(outputs) is not None:
            raise self._blame(params)
        return outputs

    def _of_calls(
        self, outputs: StructuredOutputsParams | None, params: Params, schema: dict[str, Any] | None
    ) -> StructuredOutputsParams | None:
        if outputs is None:
            return None
        if outputs.json is not None:
            given = json.loads(outputs.json) if isinstance(outputs.json, str) else outputs.json
            outputs = StructuredOutputsParams(json=json.dumps(convert(given, "tools").schema))
        elif outputs.structural_tag is not None and self._grammars.backend == GUIDANCE:
            outputs = self._of_tag(json.loads(outputs.structural_tag), schema, params)
        if outputs is not None and self._grammars.refusal(self._marked(outputs)) is not None:
            raise self._blame(params)
        return outputs

    def _of_tag(
        self, tag: dict[str, Any], schema: dict[str, Any] | None, params: Params
    ) -> StructuredOutputsParams | None:
        grammar = LarkGrammar(self._grammars.special, flexible_whitespace=self._grammars.flexible_whitespace)
        try:
            text = grammar.of_tag(tag, None if _is_forced(params) else schema)
        except Untranslatable as error:
            if not forces(params):
                return None  # it would only have limited the number of calls, which the reader does too
            name = "tool_choice" if _is_forced(params) else f"tools[{forces(params)[0]}].strict"
            reason = f"this model's calls cannot be held to a schema: {error}"
            raise BadParameter(name, reason, unsupported=True) from error
        return StructuredOutputsParams(grammar=text)

    def _marked(self, outputs: StructuredOutputsParams) -> StructuredOutputsParams:
        """The engine reads from here which library compiles it; vLLM's own check, on the event loop, is passed over."""
        outputs._backend = self._grammars.backend
        return outputs

    def _blame(self, params: Params) -> BadParameter:
        """Find the schema, and the part of it, that the library refuses."""
        found = []
        if params.format is not None:
            found.append(convert(params.format.schema or {}, FORMAT))
        tools = params.tools
        found += [convert(tools[index].get("parameters") or {}, tool_path(index)) for index in forces(params)]
        for converted in found:
            blamed = blame(converted, self._grammars.refusal_of_schema)
            if blamed is not None:
                return BadParameter(*blamed)
        return BadParameter(_whole(params), TOO_COMPLEX)


def _schema(params: Params) -> dict[str, Any] | None:
    if params.format is None:
        return None
    if params.format.type == "json_object":
        return {"type": "object"}
    return convert(params.format.schema or {}, FORMAT).schema


def _is_forced(params: Params) -> bool:
    """Whether the answer is a call and nothing else."""
    return params.tool_choice == "required" or isinstance(params.tool_choice, dict)


def _whole(params: Params) -> str:
    return FORMAT if params.format is not None else "tools"


def _key(params: Params) -> bytes:
    parts = (params.format, params.tools, params.tool_choice, params.parallel_tool_calls, params.reasoning_effort)
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
