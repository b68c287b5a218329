"""`python -m bench.floor`: what vLLM's AsyncLLM gives to a program that asks it directly, without a network.

The same prompts as the load generator sends, rendered and tokenized before the measurement. No server can be faster
with the same engine; the distance to this is what a server costs.
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop
from transformers import AutoTokenizer
from vllm import AsyncEngineArgs, SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM

from bench.load.lengths import Length
from bench.load.metrics import Rules, summary
from bench.load.plan import Ask, Shape, sessions
from bench.load.sample import Sample
from bench.pin import pin_family
from bench.processes import per_token, usage

FEW = 24  # answers of the phase with one stream
WARM = 2  # answers per stream that are not counted


class Floor:
    """One engine and the prompts that it is given."""

    def __init__(self, llm: AsyncLLM, prompts: Iterator[tuple[Ask, list[int]]]) -> None:
        self.llm = llm
        self.prompts = prompts
        self.samples: list[Sample] = []

    async def answers(self, streams: int, count: int) -> list[Sample]:
        """Run `count` prompts, `streams` at once."""
        self.samples = []
        left = iter(range(count))
        await asyncio.gather(*(self._stream(left) for _ in range(streams)))
        return self.samples

    async def _stream(self, left: Iterator[int]) -> None:
        for _ in left:
            await self._answer(*next(self.prompts))

    async def _answer(self, ask: Ask, ids: list[int]) -> None:
        now = time.perf_counter()
        sample = Sample(now, now, [], input_tokens=len(ids))
        sampling = SamplingParams(
            temperature=0.0, max_tokens=ask.output_tokens, ignore_eos=True, output_kind=RequestOutputKind.DELTA
        )
        prompt: Any = {"type": "token", "prompt_token_ids": ids}
        async for output in self.llm.generate(prompt, sampling, f"{id(sample)}-{now}"):
            sample.stamps.append(time.perf_counter())
            sample.output_tokens += len(output.outputs[0].token_ids)
        sample.ended = time.perf_counter()
        self.samples.append(sample)


def prompts(model: str, shape: Shape, seed: int, count: int) -> list[tuple[Ask, list[int]]]:
    """What the load generator would send, as token ids."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    asks = [session.asks[0] for session in sessions(shape, count, random.Random(seed))]
    return [(ask, _ids(tokenizer, ask.text)) for ask in asks]


def _ids(tokenizer: Any, text: str) -> list[int]:
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return ids


async def measure(given: argparse.Namespace, asked: Sequence[tuple[Ask, list[int]]]) -> dict[str, Any]:
    """Measure with many streams, then with one."""
    llm = AsyncLLM.from_engine_args(engine(given))
    try:
        pin_family(os.getpid(), given.engine_core, given.server_core)
        floor = Floor(llm, iter(asked))
        await floor.answers(given.streams, WARM * given.streams)
        before, began = usage([os.getpid()]), time.perf_counter()
        loaded = summary(await floor.answers(given.streams, given.requests), began, Rules())
        loaded |= per_token(before, usage([os.getpid()]), loaded["total_output_tokens"])
        began = time.perf_counter()
        return {"loaded": loaded, "single": summary(await floor.answers(1, FEW), began, Rules())}
    finally:
        llm.shutdown()


def engine(given: argparse.Namespace) -> AsyncEngineArgs:
    """As servers start it here: nothing compiled, and a share of memory that a small machine has."""
    return AsyncEngineArgs(
        model=given.model,
        enforce_eager=given.eager,
        gpu_memory_utilization=given.memory,
        load_format=given.load_format,
        max_num_seqs=given.max_num_seqs or None,
        disable_log_stats=not given.log_stats,
    )


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__)
    parser.add_argument("--model", required=True, help="a folder, or a name on the model hub")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--prompt-words", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-stats", action="store_true", help="as vLLM's own server has it by default")
    parser.add_argument("--no-eager", dest="eager", action="store_false", help="let vLLM compile the model")
    parser.add_argument("--memory", type=float, default=0.2, help="vLLM's gpu_memory_utilization")
    parser.add_argument("--load-format", default="auto", help="as vLLM's; dummy: random weights")
    parser.add_argument("--max-num-seqs", type=int, default=0, help="answers at once; 0: vLLM's own default")
    parser.add_argument("--engine-core", default="", help="cores for the engine's processes, as 0 or 2-5")
    parser.add_argument("--server-core", default="", help="cores for this process")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    given = parser.parse_args()
    shape = Shape(Length("fixed", given.prompt_words), Length("fixed", given.output_tokens))
    asked = prompts(given.model, shape, given.seed, WARM * given.streams + given.requests + FEW)
    text = json.dumps(uvloop.run(measure(given, asked)), indent=1)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
