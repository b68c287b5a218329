"""A process with an engine in it, to be killed: `python -m tests.engine.node MODEL`. Reports on its output."""

import asyncio
import sys

from engine.base import EngineDead, Params, Prompt, Said
from engine.vllm import VllmEngine, preload


async def main(model: str) -> None:
    engine = VllmEngine(model, "demo", ["--max-model-len", "1024"], patience=1)
    await engine.start()
    print("started", flush=True)
    watching = asyncio.create_task(watch(engine))
    try:
        await asyncio.gather(*(generate_for_ever(engine, number) for number in range(4)))
    except EngineDead:
        print("engine dead", flush=True)
    await watching
    await engine.close()
    print("closed", flush=True)


async def watch(engine: VllmEngine) -> None:
    """As a node does."""
    try:
        while True:
            await engine.check()
            await asyncio.sleep(0.2)  # the interval of a node's checks
    except EngineDead as error:
        print(error, flush=True)
        await engine.close()


async def generate_for_ever(engine: VllmEngine, number: int) -> None:
    params = Params(max_tokens=900, ignore_eos=True)
    turn = 0
    while True:
        turn += 1
        async for _ in engine.generate(f"{number}-{turn}", Prompt((1, 2, 3)), params, Said()):
            pass


if __name__ == "__main__":
    preload(sys.argv[1])
    print("preloading", flush=True)
    asyncio.run(main(sys.argv[1]))
