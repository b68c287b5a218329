"""Redis behind Sentinel: sentinels name the master, and another one after a failover.

They are asked when the master fails, and at intervals while it does not: a master that was replaced by hand takes
writes for ten seconds more, which are lost when it becomes a replica.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from server.store.errors import BadAddress, StoreDown, StoreError
from server.store.redis.client import Client
from server.store.redis.routed import RoutedClient, Servers, first_answer, host_and_port

PORT = 26379
MASTER_MAX_AGE_S = 1.0  # after this time the sentinels are asked for the master again
PASSWORD_OPTION = "sentinel_password"  # in an address: of the sentinels, which do not share the servers' password


class SentinelClient(RoutedClient):
    """Calls to the master, whose name is the first part of the address' path; the second is a database."""

    def __init__(self, url: str, *, timeout: float = 2.0, limit: int = 16) -> None:
        super().__init__(url, port=PORT, timeout=timeout, limit=limit)
        self._name, _, database = self._servers.path.strip("/").partition("/")
        if not self._name:
            raise BadAddress(f"{self.address} does not name a master, as in redis+sentinel://host:26379/mymaster")
        self._path = f"/{database}" if database else ""
        sentinels, self._servers = split_servers(self._servers)
        # In the order in which they are asked.
        self._sentinels = [Client(sentinels.url_of(host), timeout=timeout, limit=4) for host in sentinels.hosts]
        # Host and port of the master; None once it has failed.
        self._master: str | None = None
        # When the sentinels were last asked, by the loop's clock; and the task that asks them again beside the calls.
        self._asked = 0.0
        self._renewing: asyncio.Task[None] | None = None

    @property
    def description(self) -> str:
        """Which kind of Redis this is, and what is known of it, for people to read."""
        return f"the master {self._master} that its sentinels name"

    async def check(self) -> None:
        """Raises StoreDown without an answer, StoreError for a server that we cannot rely on."""
        async with self.server_of("") as client:
            await client.check()

    async def close(self) -> None:
        """Close every connection."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await super().close()
        for sentinel in self._sentinels:
            await sentinel.close()

    async def _locate(self, key: str) -> str:
        if self._master is None:
            async with self._discovery:
                return self._master or await self._ask_sentinels()
        if self._renewing is None and asyncio.get_running_loop().time() - self._asked > MASTER_MAX_AGE_S:
            self._renewing = asyncio.create_task(self._renew())
        return self._master

    async def _renew(self) -> None:
        """Ask again. Without an answer the master stays: that the sentinels are lost does not mean that it is."""
        try:
            async with self._discovery:
                await self._ask_sentinels()
        except StoreError:
            self._asked = asyncio.get_running_loop().time()
        finally:
            self._renewing = None

    async def _ask_sentinels(self) -> str:
        answer: Any
        try:
            sentinel, answer = await first_answer(self._sentinels, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        except StoreDown as error:
            raise StoreDown(f"no sentinel names a master '{self._name}': {error}") from error
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)
        self._asked = asyncio.get_running_loop().time()
        self._master = master = host_and_port(answer[0].decode(), int(answer[1]))
        await self._keep_only({master})
        return master

    def _distrust(self, server: str, key: str, error: StoreDown) -> None:
        if server == self._master:
            self._master = None


def split_servers(given: Servers) -> tuple[Servers, Servers]:
    """How to reach the sentinels, and how to reach the servers that they name."""
    options = parse_qsl(given.query)
    password = dict(options).get(PASSWORD_OPTION, "")
    rest = urlencode([(name, value) for name, value in options if name != PASSWORD_OPTION])
    servers = msgspec.structs.replace(given, query=rest)
    return msgspec.structs.replace(servers, user=f":{quote(password, safe='')}@" if password else ""), servers
