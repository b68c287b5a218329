"""Just enough HTTP to ask a node something, with a deadline."""

import asyncio
from typing import Any

import orjson


async def get(host: str, port: int, path: str, seconds: float = 2.0) -> tuple[int, bytes]:
    """Status and body. Raises OSError, TimeoutError."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("the answer was cut off")
    return int(words[1]), body


async def ok(host: str, port: int, path: str) -> bool:
    """Whether it answers 200 now."""
    try:
        return (await get(host, port, path, 1.0))[0] == 200
    except (OSError, TimeoutError):
        return False


async def stored(host: str, port: int, id: str) -> dict[str, Any] | None:
    """A response as the server keeps it; None if it knows none. Raises OSError where it cannot say, TimeoutError."""
    status, body = await get(host, port, f"/v1/responses/{id}")
    if status == 404:
        return None
    if status != 200:
        raise ConnectionError(f"status {status}")
    response: dict[str, Any] = orjson.loads(body)
    return response
