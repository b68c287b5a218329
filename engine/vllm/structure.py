"""The grammar that an answer follows: from a request's schemas and tools to what vLLM is given."""

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from vllm.sampling_params import StructuredOutputsParams

from engine.base import BadParameter, Overloaded, Params
from engine.schema import FORMAT, blame, convert, enforced_tools, forces, tool_path
from engine.vllm.grammars import GUIDANCE, Grammars
from engine.vllm.lark import LarkGrammar, Untranslatable
from engine.vllm.parsers import OutputParsers
from engine.vllm.tryout import TOO_COMPLEX

KEPT = 64  # grammars
BLAME_SECONDS = 1.0  # for finding the part of a schema that is refused
WAITING = 16  # requests whose grammar is not compiled yet


class Structure(msgspec.Struct, frozen=True):
    """What a request's schemas and tools mean for sampling."""

    outputs: StructuredOutputsParams | None = None
    skip_special_tokens: bool = True


PLAIN = Structure()


class Structures:
    """Builds the structure of each request once, and has tried it out before anybody sees it."""

    def __init__(self, grammars: Grammars, parsers: OutputParsers) -> None:
        self._grammars = grammars
        self._parsers = parsers
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grammar")
        self._waiting = 0  # for the thread, or in it
        self._kept: OrderedDict[bytes, Structure | BadParameter] = OrderedDict()

    async def get(self, params: Params) -> Structure:
        """Raises BadParameter, by name, for what the engine cannot hold an answer to; Overloaded.

        Cancelling it lets the work go on, which takes limited time.
        """
        known = self._find(params)
        if isinstance(known, BadParameter):
            raise BadParameter(known.name, known.reason, unsupported=known.unsupported)
        if known is not None:
            return known
        if self._waiting >= WAITING:
            raise Overloaded("too many schemas are being read")
        self._waiting += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._build, params)
            made = await work
        except BadParameter as error:
            self._keep(params, error.with_traceback(None))
            raise
        finally:
            self._waiting -= 1
        self._keep(params, made)
        return made

    def known(self, params: Params) -> Structure | None:
        """One that was built before, and that of a request without schemas and tools."""
        found = self._find(params)
        return found if isinstance(found, Structure) else None

    def _find(self, params: Params) -> Structure | BadParameter | None:
        if params.format is None and not self._parsers.reads(params):
            return PLAIN
        key = _key(params)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _keep(self, params: Params, made: Structure | BadParameter) -> None:
        self._kept[_key(params)] = made
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def close(self) -> None:
        """End what compiles; requests that wait for it are refused."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._grammars.close()

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
        self._try_out(outputs, params)
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
            return self._of_tag(json.loads(outputs.structural_tag), None if _is_forced(params) else schema, params)
        self._try_out(self._marked(outputs), params)
        return outputs

    def _of_tag(
        self, tag: dict[str, Any], schema: dict[str, Any] | None, params: Params
    ) -> StructuredOutputsParams | None:
        try:
            grammar, trial = (self._lark(as_text=as_text).of_tag(tag, schema) for as_text in (False, True))
        except Untranslatable as error:
            if not forces(params):
                return None  # it would only have limited the number of calls, which the reader does too
            name = "tool_choice" if _is_forced(params) else f"tools[{forces(params)[0]}].strict"
            reason = f"this model's calls cannot be held to a schema: {error}"
            raise BadParameter(name, reason, unsupported=True) from error
        self._try_out(StructuredOutputsParams(grammar=trial), params)
        return self._marked(StructuredOutputsParams(grammar=grammar))

    def _lark(self, *, as_text: bool) -> LarkGrammar:
        white = self._grammars.flexible_whitespace
        return LarkGrammar(self._grammars.special, flexible_whitespace=white, as_text=as_text)

    def _try_out(self, outputs: StructuredOutputsParams, params: Params) -> None:
        """Raises BadParameter. What is too much as a whole has no part that is to blame."""
        reason = self._grammars.refusal(outputs)
        if reason == TOO_COMPLEX:
            raise BadParameter(_whole(params), TOO_COMPLEX)
        if reason is not None:
            raise self._blame(params, reason)

    def _marked(self, outputs: StructuredOutputsParams) -> StructuredOutputsParams:
        """The engine reads from here which library compiles it; vLLM's own check, on the event loop, is passed over."""
        outputs._backend = self._grammars.backend
        return outputs

    def _blame(self, params: Params, reason: str) -> BadParameter:
        """Find the schema, and the part of it, that the library refuses; not for long."""
        until = time.monotonic() + BLAME_SECONDS

        def refusal(schema: dict[str, Any]) -> str | None:
            return self._grammars.refusal_of_schema(schema) if time.monotonic() < until else None

        suspects = [(params.tools[index].get("parameters") or {}, tool_path(index)) for index in forces(params)]
        if params.format is not None and params.format.schema:
            suspects.append((params.format.schema, FORMAT))
        for schema, path in suspects:
            blamed = blame(convert(schema, path), refusal)
            if blamed is not None:
                return BadParameter(*blamed)
        return BadParameter(_whole(params), reason)


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
