"""What the inputs refer to, made honestly before any of them is sent."""

import asyncio
from typing import Any

import orjson

from bench.faults.cluster import HOST
from bench.hostile.corpus.family import Ground
from bench.hostile.inputs import http
from bench.load.decode import End, Head, ResponseDecoder

EVENTS = 100  # of the response that is resumed
LARGE = 200_000  # characters of each item of the long history
CALLS = 20  # calls that fill the conversation, with twenty items each


async def make_ground(port: int) -> Ground:
    """Ask the node. Raises OSError, KeyError where it does not do what it should."""
    long = await post(
        port, "/v1/responses", {"input": "Tell me a story.", "max_output_tokens": EVENTS, "ignore_eos": True}
    )
    text = "a b c d " * (LARGE // 8)
    items = [{"role": role, "content": text} for role in ("user", "assistant", "user", "assistant")]
    items.append({"role": "user", "content": "Hi"})
    cut = {"max_output_tokens": 4, "truncation": "auto"}
    history = await post(port, "/v1/responses", {"input": items, **cut})
    conversation = await post(port, "/v1/conversations", {})
    some = [{"role": "user", "content": "word " * 200}] * 20
    for _ in range(CALLS):
        await post(port, f"/v1/conversations/{conversation['id']}/items", {"items": some})
    return Ground(long["id"], history["id"], conversation["id"])


async def post(port: int, path: str, body: Any) -> dict[str, Any]:
    """One request on a connection of its own; its answer, which must be good. Raises OSError."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(http("POST", path, orjson.dumps(body)))
        answers, said, status = ResponseDecoder(), b"", 0
        while data := await reader.read(65536):
            for part in answers.feed(data):
                if isinstance(part, Head):
                    status = part.status
                elif isinstance(part, End):
                    return _good(status, path, said)
                else:
                    said += part
    finally:
        writer.close()
    raise ConnectionError(f"{path} was not answered")


def _good(status: int, path: str, said: bytes) -> dict[str, Any]:
    if status != 200:
        raise ConnectionError(f"{path} was answered with {status}: {said[:300]!r}")
    answer: dict[str, Any] = orjson.loads(said)
    return answer
