"""Opens connections to a target."""

import asyncio
import ssl
from urllib.parse import urlsplit

from bench.load.options import Options
from bench.load.pool import Channel, Open
from bench.load.sockets import open_lanes
from bench.load.stream import HttpConnection
from bench.load.target import TARGETS

TIMEOUT = 30.0  # seconds for a handshake


def opener(options: Options) -> Open:
    """What opens one connection of this run."""

    async def connect() -> list[Channel]:
        async with asyncio.timeout(TIMEOUT):
            return await (_socket(options) if TARGETS[options.target].socket else _http(options))

    return connect


def headers(options: Options) -> dict[str, str]:
    """Of every request and handshake."""
    return {"authorization": f"Bearer {options.key}"} if options.key else {}


def base(url: str) -> str:
    """An address without the version that clients' settings often end with."""
    return url.rstrip("/").removesuffix("/v1")


async def _socket(options: Options) -> list[Channel]:
    url = base(options.url).replace("http", "ws", 1) + TARGETS[options.target].path
    return list(await open_lanes(url, options.lanes, headers(options)))


async def _http(options: Options) -> list[Channel]:
    parts = urlsplit(base(options.url))
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if secure else 80)
    target = TARGETS[options.target]
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_connection(
        lambda: HttpConnection(target, parts.netloc, headers(options)), parts.hostname or "", port, ssl=secure
    )
    return [channel]
