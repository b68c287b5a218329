"""From a client's JSON to a checked request.

Every field of the public `response.create` either works, or is refused by name when it asks for something; fields that
the public protocol does not know are tolerated, since clients add their own. Source: the Responses API reference.
"""

import hashlib
import math
import re
from itertools import chain
from typing import Any, Literal, TypeVar

import msgspec
import orjson

from server.protocol.errors import WireError, invalid, unsupported
from server.protocol.ids import check_id, check_previous
from server.protocol.items import check_items

T = TypeVar("T")

DEPTH = 100  # levels of nesting; orjson reads more than it can write, and what is read here is written later
VALUE_BYTES = 64  # of one member of an object or a list in memory, about
BYTE_ORDER_MARK = "\ufeff".encode()
LANE_PATTERN = r"[A-Za-z0-9_.\-]{1,256}"

# Fields of the public API that have no meaning here, with the values that ask for nothing.
NOT_OFFERED: dict[str, tuple[Any, ...]] = {
    "access_programs": (None,),
    "background_options": (None, {}, {"completion_window": "soonest"}),
    "context_management": (None, []),
    "image": (None, {}, {"context_compression": "auto"}),
    "moderation": (None,),
    "prompt": (None,),
    "prompt_cache_options": (None, {}),
    "prompt_cache_retention": (None, "in_memory"),
    "service_tier": (None, "auto", "default"),
}
FUNCTION_FIELDS = (("parameters", dict, "an object"), ("description", str, "a string"), ("strict", bool, "a boolean"))
INCLUDABLE = frozenset({"message.output_text.logprobs", "reasoning.encrypted_content"})


class TextFormat(msgspec.Struct, frozen=True, omit_defaults=True):
    """`text.format`: the shape that an answer must have."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Text(msgspec.Struct, frozen=True, omit_defaults=True):
    """`text`: format and verbosity of the answer."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(msgspec.Struct, frozen=True, omit_defaults=True):
    """`reasoning`: how much the model is to think, and what is shown of it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class StreamOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """`stream_options`: accepted, and without effect here."""

    include_obfuscation: bool | None = None


class ConversationParam(msgspec.Struct, frozen=True):
    """`conversation` in its long form."""

    id: str


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """A `response.create`, checked as far as that goes without a model."""

    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    conversation: str | ConversationParam | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_id: str | None = None
    stream_options: StreamOptions | None = None
    generate: bool | None = None
    background: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    text: Text | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop: str | list[str] | None = None
    idempotency_key: str | None = None

    @property
    def kept(self) -> bool:
        """`store`, which is true unless refused."""
        return self.store is not False

    @property
    def generates(self) -> bool:
        """False only for a warm-up frame."""
        return self.generate is not False

    @property
    def conversation_id(self) -> str | None:
        """The id of `conversation`, which is sent as a text or as an object."""
        return self.conversation.id if isinstance(self.conversation, ConversationParam) else self.conversation

    @property
    def items(self) -> list[dict[str, Any]]:
        """`input` as a list of items; a text is one user message."""
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": self.input}]
        return self.input or []

    @property
    def function_tools(self) -> list[dict[str, Any]]:
        """The tools that can work here; real clients send other types too, and live without them."""
        return [tool for tool in self.tools or [] if tool.get("type") == "function"]


def memory_size(raw: str | bytes) -> int:
    """About how many bytes a JSON text takes once it is read: objects, lists and members cost more than their text."""
    signs = map(raw.count, ",[{") if isinstance(raw, str) else map(raw.count, (b",", b"[", b"{"))
    return len(raw) + VALUE_BYTES * sum(signs)


def parse_object(raw: str | bytes) -> dict[str, Any]:
    """One JSON object, with or without a byte order mark in front of it. Raises WireError."""
    text = raw.removeprefix("\ufeff") if isinstance(raw, str) else raw.removeprefix(BYTE_ORDER_MARK)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = _encoding_fault(text) if isinstance(text, bytes) else None
        raise invalid(f"The message is not valid JSON: {reason or error}") from None
    if not isinstance(value, dict):
        raise invalid("The message must be a JSON object.")
    if nests_deeper(value, DEPTH):
        raise invalid(f"The message nests deeper than {DEPTH} levels.")
    return value


def nests_deeper(value: dict[str, Any] | list[Any], levels: int) -> bool:
    """Whether objects and lists lie within each other on more than so many levels."""
    level: list[Any] = [value]
    for _ in range(levels):
        values = chain.from_iterable(each.values() if type(each) is dict else each for each in level)
        level = [each for each in values if type(each) is dict or type(each) is list]
        if not level:
            return False
    return True


def _encoding_fault(text: bytes) -> str | None:
    """What is wrong with the encoding of what is no JSON: that is UTF-8 (RFC 8259, 8.1), whatever headers say."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in text[:4]:
        return "it must be in UTF-8, and looks like UTF-16 or UTF-32."
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"it must be in UTF-8, and byte {error.start} is not."
    return None


def parse_request(body: dict[str, Any]) -> Request:
    """Check a `response.create`. Raises WireError that names the field."""
    for name, empty in NOT_OFFERED.items():
        if name in body and body[name] not in empty:
            raise unsupported(name, "this server does not offer it")
    request = convert(body, Request)
    _check_continuation(request)
    _check_shape(request)
    _check_tools(request)
    check_metadata(request.metadata)
    check_items(request.items, "input")
    return request


def convert(value: Any, type: type[T], at: str = "") -> T:
    """Typed decoding. Raises WireError with the path of the field that does not fit."""
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), at) from None


def _misfit(words: str, at: str) -> WireError:
    """msgspec's sentence as an error that names the field."""
    reason, _, path = words.partition(" - at `$")
    param = (at + path.rstrip("`").replace("[...]", "")).lstrip(".")
    if missing := re.fullmatch("Object missing required field `(.+)`", reason):
        param = f"{param}.{missing[1]}".lstrip(".")
        return _missing(param)
    return invalid(f"Invalid '{param}': {reason}." if param else f"{reason}.", param or None, "invalid_type")


def _missing(param: str) -> WireError:
    return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def fingerprint(body: dict[str, Any]) -> str:
    """A digest that is equal for equal requests, however they are carried."""
    carried = {"type", "stream", "stream_id", "idempotency_key", "background"}
    kept = {name: value for name, value in body.items() if name not in carried}
    return hashlib.blake2b(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def check_metadata(metadata: dict[str, str] | None) -> None:
    """At most 16 pairs, keys of 64 and values of 512 characters. Raises WireError."""
    if len(metadata or {}) > 16:
        raise invalid("Invalid 'metadata': at most 16 pairs.", "metadata")
    for key, value in (metadata or {}).items():
        if len(key) > 64:
            raise invalid(f"Invalid 'metadata': the key '{key[:64]}...' is longer than 64 characters.", "metadata")
        if len(value) > 512:
            raise invalid(f"Invalid 'metadata.{key}': longer than 512 characters.", f"metadata.{key}")


def _check_continuation(request: Request) -> None:
    if request.previous_response_id is not None and request.conversation is not None:
        message = "'previous_response_id' and 'conversation' exclude each other."
        raise invalid(message, "previous_response_id", "mutually_exclusive_parameters")
    continues = request.previous_response_id is not None or request.conversation is not None
    if request.previous_response_id is not None:
        check_previous(request.previous_response_id)
    if request.conversation_id is not None:
        check_id("conversation", request.conversation_id)
    if not request.items and not continues and request.generates:
        raise _missing("input")
    if request.background and not request.kept:
        raise invalid("'background' needs 'store': true.", "background")
    if request.idempotency_key is not None and not 1 <= len(request.idempotency_key) <= 255:
        raise invalid("'idempotency_key' must have 1 to 255 characters.", "idempotency_key")


def _check_shape(request: Request) -> None:
    for name in sorted(set(request.include or ()) - INCLUDABLE):
        raise unsupported("include", f"'{name}' is not available here")
    if request.stream_options and request.stream_options.include_obfuscation:
        raise unsupported("stream_options.include_obfuscation", "events are sent as they are")
    if request.reasoning:
        _check_reasoning(request.reasoning)
    if request.text and request.text.verbosity in {"low", "high"}:
        raise unsupported("text.verbosity", "the model has no such setting")
    for name in ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"):
        if not math.isfinite(getattr(request, name) or 0.0):
            raise invalid(f"Invalid '{name}': must be a finite number.", name)
    _check_format(request)


def _check_reasoning(reasoning: Reasoning) -> None:
    for name in ("summary", "generate_summary"):
        if getattr(reasoning, name) in {"concise", "detailed"}:
            raise unsupported(f"reasoning.{name}", "reasoning is returned in full, not summarized")
    if reasoning.context == "current_turn":
        raise unsupported("reasoning.context", "the model reads the reasoning of all turns that are sent")
    if reasoning.mode not in {None, "standard"}:
        raise unsupported("reasoning.mode", "there is only 'standard'")


def _check_format(request: Request) -> None:
    shape = request.text.format if request.text else None
    if shape and shape.type == "json_schema" and (shape.schema is None or not shape.name):
        missing = "schema" if shape.schema is None else "name"
        raise _missing(f"text.format.{missing}")


def _check_tools(request: Request) -> None:
    for index, tool in enumerate(request.tools or []):
        if not isinstance(tool.get("type"), str):
            raise _missing(f"tools[{index}].type")
        if tool["type"] == "function":
            _check_function(tool, f"tools[{index}]")
    _check_choice(request)


def _check_function(tool: dict[str, Any], at: str) -> None:
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise _missing(f"{at}.name")
    for field, kind, what in FUNCTION_FIELDS:
        if not isinstance(tool.get(field), kind | None):
            raise invalid(f"Invalid '{at}.{field}': expected {what}.", f"{at}.{field}", "invalid_type")


def _check_choice(request: Request) -> None:
    choice = request.tool_choice
    if isinstance(choice, dict):
        _check_named_choice(choice, [tool["name"] for tool in request.function_tools])
    elif choice not in {None, "none", "auto", "required"}:
        raise invalid("Invalid 'tool_choice': expected 'none', 'auto', 'required' or a function.", "tool_choice")
    elif choice == "required" and not request.function_tools:
        raise invalid("'tool_choice': 'required' needs a function in 'tools'.", "tool_choice")


def _check_named_choice(choice: dict[str, Any], names: list[str]) -> None:
    if choice.get("type") != "function":
        raise unsupported("tool_choice", f"only functions can be chosen, not '{choice.get('type')}'")
    if choice.get("name") not in names:
        raise invalid(f"Invalid 'tool_choice': there is no function '{choice.get('name')}' in 'tools'.", "tool_choice")
