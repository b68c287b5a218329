"""A process with an engine whose model calls functions: `python -m tests.engine.calls`.

Reads one JSON object a line, a name and parameters as `Params` has them; writes the name with what came of it.
"""

import asyncio
import json
import sys
from typing import Any

import msgspec

from engine.base import BadParameter, Channel, Chunk, EngineError, Params, Said
from engine.vllm import VllmEngine, preload
from tests.engine.contract import user
from tests.engine.real import MODEL, OPTIONS

PARSER = ("--tool-call-parser", "hermes")


async def main() -> None:
    engine = VllmEngine(MODEL, "demo", [*OPTIONS, *PARSER])
    await engine.start()
    for line in sys.stdin:
        name, params = json.loads(line)
        print(json.dumps([name, await answer(engine, name, msgspec.convert(params, Params))]), flush=True)
    await engine.close()


async def answer(engine: VllmEngine, name: str, params: Params) -> dict[str, Any]:
    """The text, the calls, or the error of one turn."""
    try:
        prompt = await engine.render(user("Where is Bern?"), params, None)
        admitted = await engine.admit(prompt, params)
        chunks = [chunk async for chunk in engine.generate(name, prompt, admitted, Said())]
    except BadParameter as error:
        return {"name": error.name, "reason": error.reason, "unsupported": error.unsupported}
    except EngineError as error:
        return {"error": str(error)}
    return {"text": text(chunks), "calls": calls(chunks), "finish": chunks[-1].finish}


def text(chunks: list[Chunk]) -> str:
    return "".join(delta.text for chunk in chunks for delta in chunk.deltas if delta.channel is Channel.TEXT)


def calls(chunks: list[Chunk]) -> list[list[str]]:
    """Name and arguments of each."""
    made: list[list[str]] = []
    for delta in (delta for chunk in chunks for delta in chunk.deltas if delta.channel is Channel.TOOL):
        if delta.call is not None:
            made.append([delta.call.name, ""])
        made[-1][1] += delta.text
    return made


if __name__ == "__main__":
    preload(MODEL, [*OPTIONS, *PARSER])
    asyncio.run(main())
