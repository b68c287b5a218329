"""All scenarios, and how much of each a run does."""

import msgspec

from bench.faults import scenarios, timed, twins
from bench.faults.double import double
from bench.faults.scenarios import Scale, Scenario, breaking


class Entry(msgspec.Struct, frozen=True):
    """A scenario, and its size in each kind of run."""

    name: str
    what: str
    run: Scenario
    usual: Scale
    long: Scale
    short: Scale | None = None  # None: not part of a short run


def _size(times: int, clients: int = 20, tokens: int = 80, longest: float = 10.0) -> Scale:
    return Scale(times=times, clients=clients, tokens=tokens, seed=1, longest=longest)


def _short(times: int, longest: float = 10.0) -> Scale:
    """Answers come faster, since most of a run is waiting for them; there are as many faults and clients."""
    return msgspec.structs.replace(_size(times, 24, longest=longest), rate=90)


CATALOGUE = (
    Entry(
        "kill",
        "SIGKILL one of two nodes, start it again, then the other",
        breaking("kill", scenarios.kill),
        _size(10, 40),
        _size(100, 60),
        _short(6),
    ),
    Entry(
        "freeze",
        "SIGSTOP a node for some seconds, then SIGCONT: it must not write any more",
        breaking("freeze", scenarios.freeze, cut=True),
        _size(4, 40),
        _size(20, 40, longest=30.0),
        _short(2, longest=3.0),
    ),
    Entry(
        "rolling",
        "SIGTERM a node, wait for its end, start it again, then the other",
        breaking("rolling", scenarios.roll),
        _size(10, 40),
        _size(100, 40),
        _short(6),
    ),
    Entry(
        "cuts",
        "every socket is cut after a random number of bytes; times counts turns",
        scenarios.cuts,
        _size(200, 40),
        _size(2000, 40),
        _short(120),
    ),
    Entry(
        "redis-stall",
        "Redis answers nobody for 1, 3, 10 s",
        breaking("redis-stall", scenarios.stall),
        _size(6, 40),
        _size(18, 40),
        _short(4, longest=1.0),
    ),
    Entry(
        "redis-kill",
        "SIGKILL Redis, start it on its append-only file",
        breaking("redis-kill", scenarios.kill_redis),
        _size(5, 40),
        _size(50, 40),
    ),
    Entry(
        "task-kill",
        "cancel a loop that a node needs: committer, heartbeat, reconciler, tailer, ...",
        breaking("task-kill", scenarios.kill_task),
        _size(12, 40),
        _size(120, 40),
    ),
    Entry(
        "own-redis",
        "SIGKILL the Redis that a lone node started, and leave the rest to the node",
        breaking("own-redis", scenarios.kill_own_redis, own=True),
        _size(5, 40),
        _size(50, 40),
    ),
    Entry(
        "redis-empty",
        "SIGKILL Redis, start it with nothing",
        breaking("redis-empty", scenarios.empty_redis, durable=False),
        _size(5, 40),
        _size(50, 40),
    ),
    Entry(
        "redis-empty-cut",
        "the same, and all sockets are cut as it comes back",
        breaking("redis-empty-cut", scenarios.empty_redis_and_cut, durable=False),
        _size(5, 40),
        _size(50, 40),
    ),
    Entry(
        "redis-older",
        "SIGKILL Redis, start it as it was up to 2 s before",
        breaking("redis-older", scenarios.age_redis, durable=False),
        _size(5, 40),
        _size(50, 40),
    ),
    Entry(
        "connections",
        "CLIENT KILL TYPE normal",
        breaking("connections", scenarios.kill_connections),
        _size(10, 40),
        _size(100, 40),
    ),
    Entry(
        "scripts",
        "SCRIPT FLUSH",
        breaking("scripts", scenarios.flush_scripts),
        _size(10, 40),
        _size(100, 40),
    ),
    Entry(
        "double",
        "two of them at once, one pair after the other",
        breaking("double", double),
        _size(14, 40),
        _size(140, 40),
    ),
    Entry(
        "mixed",
        "one of the above at random, again and again",
        breaking("mixed", scenarios.anything, cut=True),
        _size(15, 40),
        _size(200, 40),
    ),
    Entry(
        "resume",
        "follow a turn at the node that does not run it",
        timed.resume,
        _size(100, tokens=200),
        _size(1000, tokens=200),
    ),
    Entry(
        "stop",
        "cancel a turn at its own node, and at the other",
        timed.stop,
        _size(100),
        _size(1000),
    ),
    Entry(
        "twins",
        "with --engine vllm: kill the node that writes the only answer, a greedy one, at a random point",
        twins.twins,
        _size(3, 1),
        _size(20, 1),
    ),
    Entry(
        "storm",
        "all of many sockets are cut at once",
        timed.storm,
        _size(2, 1000, tokens=60),
        _size(2, 5000, tokens=120),
    ),
)
