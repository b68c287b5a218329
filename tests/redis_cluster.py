"""A real Redis Cluster and a real master with a replica and a sentinel, for tests."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from tests.redis_server import Listening, listening
from tests.waiting import wait_until

CLUSTERED = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
    *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
)
FIRST = "{10}:probe"  # lies on the first of three masters
THIRDS = ((0, 5461), (5462, 10922), (10923, 16383))


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Half a minute: a cluster forms and fails over in seconds, on a busy machine in more of them."""
    wait_until(condition, what, seconds=30.0)


class Masters:
    """Three servers, each with a third of the slots."""

    def __init__(self, servers: list[Listening]) -> None:
        self.servers = servers
        self.urls = [server.url for server in servers]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        self.names = [server.ask("CLUSTER MYID") for server in servers]

    def form(self) -> None:
        """Share out the slots and have everybody meet."""
        for index, (server, third) in enumerate(zip(self.servers, THIRDS, strict=True)):
            server.ask("CLUSTER SET-CONFIG-EPOCH", index + 1)
            server.ask("CLUSTER ADDSLOTSRANGE", *third)
            server.ask("CLUSTER MEET", "127.0.0.1", self.servers[0].port)
        wait_for(lambda: all(self._is_whole(server) for server in self.servers), "the cluster is whole")

    def _is_whole(self, server: Listening) -> bool:
        fine = server.ask("CLUSTER INFO")["cluster_state"] == "ok"
        return fine and len({row[2][1] for row in server.ask("CLUSTER SLOTS")}) == len(self.servers)

    def index(self, key: str) -> int:
        """Which of the servers holds a key now."""
        slot = key_slot(key.encode())
        for low, high, (_, port, *_), *_ in self.servers[0].ask("CLUSTER SLOTS"):
            if low <= slot <= high:
                return [server.port for server in self.servers].index(port)
        pytest.fail(f"nobody holds slot {slot}")

    def begin_move(self, key: str, to: int) -> int:
        """Announce that the slot of a key moves. Returns the slot."""
        slot, source = key_slot(key.encode()), self.index(key)
        self.servers[to].ask("CLUSTER SETSLOT", slot, "IMPORTING", self.names[source])
        self.servers[source].ask("CLUSTER SETSLOT", slot, "MIGRATING", self.names[to])
        return slot

    def keys(self, slot: int, source: int, count: int) -> list[bytes]:
        """Up to so many keys of a slot that are still there."""
        names: list[bytes] = self.servers[source].ask("CLUSTER GETKEYSINSLOT", slot, count)
        return names

    def carry(self, source: int, to: int, *names: str | bytes) -> None:
        """Move keys."""
        self.servers[source].ask("MIGRATE", "127.0.0.1", self.servers[to].port, "", 0, 5000, "KEYS", *names)

    def end_move(self, slot: int, to: int) -> None:
        """Say where the slot is now: its new master first."""
        for server in (self.servers[to], *self.servers):
            server.ask("CLUSTER SETSLOT", slot, "NODE", self.names[to])


@contextmanager
def masters(path: str, *options: str) -> Iterator[Masters]:
    """A cluster without replicas: the loss of a master takes its slots away, and no others."""
    with ExitStack() as stack:
        cluster = Masters([stack.enter_context(listening(path, *CLUSTERED, *options)) for _ in THIRDS])
        cluster.form()
        yield cluster


@contextmanager
def replica(path: str, cluster: Masters) -> Iterator[Listening]:
    """One more server, which takes over when the first master is gone."""
    with listening(path, *CLUSTERED) as server:
        server.ask("CLUSTER MEET", "127.0.0.1", cluster.servers[0].port)
        wait_for(
            lambda: all(name.decode() in str(server.ask("CLUSTER NODES")) for name in cluster.names), "it knows all"
        )
        server.ask("CLUSTER REPLICATE", cluster.names[0])
        wait_for(lambda: _is_followed(cluster.servers[0]), "the replica is in step")
        yield server


def _knows(server: Listening, names: list[bytes]) -> bool:
    told = str(server.ask("CLUSTER NODES"))
    return all(name.decode() in told for name in names)


def _is_followed(master: Listening) -> bool:
    """Whether a replica has confirmed some of what was written. "Online" says less: its stream may not have begun."""
    master.ask("SET", FIRST, 1, "PX", 1)
    followers = master.admin.info("replication")
    return bool(followers.get("slave0", {}).get("offset", 0) > 0)


class Watched:
    """A master and its replica, one of them watched over by a sentinel as "tl"."""

    def __init__(self, master: Listening, replica: Listening, sentinel: Listening) -> None:
        self.master = master
        self.replica = replica
        self.sentinel = sentinel
        self.url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/tl"
        self.urls = [master.url]


@contextmanager
def watched(path: str) -> Iterator[Watched]:
    """A failover takes about two seconds."""
    lasting = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
    with listening(path, *lasting) as master:
        following = (*lasting, "--replicaof", f"127.0.0.1 {master.port}")
        with listening(path, *following) as replica:
            wait_for(lambda: _is_followed(master), "the replica is in step")
            with sentinel(path, master.port) as watching:
                wait_for(lambda: _could_fail_over(watching), "the sentinel knows the replica")
                yield Watched(master, replica, watching)


@contextmanager
def sentinel(path: str, master: int) -> Iterator[Listening]:
    """A sentinel that decides alone. It writes to its file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tl")))
        rules = ("monitor tl 127.0.0.1 {} 1", "down-after-milliseconds tl 1000", "failover-timeout tl 3000")
        file = folder / "sentinel.conf"
        file.write_text("".join(f"sentinel {rule.format(master)}\n" for rule in rules))
        program = folder / "redis-sentinel"  # the name is what makes it one
        program.symlink_to(path)
        yield stack.enter_context(listening(f"{program} {file}"))


def _could_fail_over(watching: Listening) -> bool:
    """Whether it knows a replica that is in step."""
    return "'ok'" in str(watching.ask("SENTINEL", "REPLICAS", "tl"))  # the state of its link to the master
