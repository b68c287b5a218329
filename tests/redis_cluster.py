"""A real Redis Cluster and a real master with a replica and a sentinel, for tests."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from redis.crc import key_slot

from tests.redis_server import Listening, listening

CLUSTERED = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
    *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
)
THIRDS = ((0, 5461), (5462, 10922), (10923, 16383))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Poll a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


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
def replica(path: str, cluster: Masters, master: int) -> Iterator[Listening]:
    """One more server, which takes over when this master is gone."""
    with listening(path, *CLUSTERED) as server:
        server.ask("CLUSTER MEET", "127.0.0.1", cluster.servers[master].port)
        name = cluster.names[master]
        wait_for(lambda: name.decode() in str(server.ask("CLUSTER NODES")), "the replica knows its master")
        server.ask("CLUSTER REPLICATE", name)
        wait_for(lambda: server.admin.info("replication")["master_link_status"] == "up", "the replica is in step")
        yield server
