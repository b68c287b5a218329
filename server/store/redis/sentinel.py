"""Redis behind Sentinel: sentinels name the master, and another one after a failover.

They are asked when the master fails, and now and then while it does not: one that was replaced by hand takes writes
for ten seconds more, which are lost when it becomes a replica.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from server.store.errors import StoreDown, StoreError
from server.store.redis.client import Client
from server.store.redis.route import Routed, Servers, first, joined

PORT = 26379
AGE = 1.0  # seconds after which the sentinels are asked again
PASSWORD = "sentinel_password"  # in an address: the one that the sentinels ask for, which have one of their own


class Sentinels(Routed):
    """Calls to the master, whose name is the first part of the address' path; the second is a database."""

    def __init__(self, url: str, *, timeout: float = 2.0, limit: int = 16) -> None:
        super().__init__(url, port=PORT, timeout=timeout, limit=limit)
        self._name, _, base = self._servers.path.strip("/").partition("/")
        if not self._name:
            raise StoreError(f"{self.address} does not name a master, as in redis+sentinel://host:26379/mymaster")
        self._path = f"/{base}" if base else ""
        asked, self._servers = split(self._servers)
        # In the order in which they are asked.
        self._sentinels = [Client(asked.one(host), timeout=timeout, limit=4) for host in asked.hosts]
        # Host and port, until it fails.
        self._master: str | None = None
        # When the sentinels were last asked, by the loop's clock; and who asks them again beside the calls.
        self._asked = 0.0
        self._renewing: asyncio.Task[None] | None = None

    @property
    def what(self) -> str:
        """What is known of it, in words."""
        return f"the master {self._master} that its sentinels name"

    async def check(self) -> None:
        """Raises StoreDown without an answer, StoreError for a server that we cannot rely on."""
        async with self.at("") as client:
            await client.check()

    async def close(self) -> None:
        """Close every connection."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await super().close()
        for sentinel in self._sentinels:
            await sentinel.close()

    async def _find(self, key: str) -> str:
        if self._master is None:
            async with self._looking:
                return self._master or await self._named()
        if self._renewing is None and asyncio.get_running_loop().time() - self._asked > AGE:
            self._renewing = asyncio.create_task(self._renew())
        return self._master

    async def _renew(self) -> None:
        """Ask again. Without an answer all stays as it is: the sentinels' loss is not the master's."""
        try:
            async with self._looking:
                await self._named()
        except StoreError:
            self._asked = asyncio.get_running_loop().time()
        finally:
            self._renewing = None

    async def _named(self) -> str:
        answer: Any
        try:
            sentinel, answer = await first(self._sentinels, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        except StoreDown as error:
            raise StoreDown(f"no sentinel names a master '{self._name}': {error}") from error
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)
        self._asked = asyncio.get_running_loop().time()
        self._master = master = joined(answer[0].decode(), int(answer[1]))
        await self._keep({master})
        return master

    def _doubt(self, server: str, key: str, error: StoreDown) -> None:
        if server == self._master:
            self._master = None


def split(given: Servers) -> tuple[Servers, Servers]:
    """How to reach the sentinels, and how the servers that they name."""
    options = parse_qsl(given.query)
    password = dict(options).get(PASSWORD, "")
    rest = urlencode([(name, value) for name, value in options if name != PASSWORD])
    servers = msgspec.structs.replace(given, query=rest)
    return msgspec.structs.replace(servers, user=f":{quote(password, safe='')}@" if password else ""), servers
