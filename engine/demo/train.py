"""Trains the demo model from nothing: `python -m engine.demo.train` writes engine/demo/model/."""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from engine.demo.generate import chats
from engine.demo.muon import Muon
from engine.demo.tokenizer import encode, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerFast

    from engine.demo.tokenizer import Encoded

MODEL = Path(__file__).with_name("model")
CONTEXT = 2048
POOL = 1500  # chats that are sorted by length at a time, to make batches with little padding


@dataclass(frozen=True)
class Recipe:
    steps: int = 6000
    batch_tokens: int = 4096
    warm_up: int = 100
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    decay: float = 0.01
    easy_steps: int = 1200  # steps over which chats grow to their full length
    width: int = 256
    layers: int = 5
    heads: int = 4
    seed: int = 1

    def rate(self, step: int) -> float:
        """Share of the full learning rate: a short warm-up, a plateau, and half of the way down to nothing."""
        return min(1.0, (step + 1) / self.warm_up, 2 * (1 - step / self.steps))


@dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor
    learnt: torch.Tensor  # positions whose next token is the assistant's
    targets: torch.Tensor


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            intermediate_size=recipe.width * 11 // 4,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    rng = random.Random(recipe.seed)
    step = 0
    while True:
        ease = max(0.0, 1 - step / recipe.easy_steps) if recipe.easy_steps else 0.0
        made = chats(rng.randrange(2**32), memory_share=0.3 + 0.6 * ease, most_turns=2 + round(10 * (1 - ease)))
        pool = sorted(encode(tokenizer, [chat.messages() for chat in islice(made, POOL)]), key=lambda one: len(one.tokens))
        groups = list(_grouped(pool, recipe.batch_tokens))
        rng.shuffle(groups)
        step += len(groups)
        yield from map(_batch, groups)


def _grouped(pool: list[Encoded], most: int) -> Iterator[list[Encoded]]:
    group: list[Encoded] = []
    for one in pool:
        if group and len(one.tokens) * (len(group) + 1) > most:
            yield group
            group = []
        group.append(one)
    yield group


def _batch(group: list[Encoded]) -> Batch:
    longest = min(CONTEXT, max(len(one.tokens) for one in group))
    tokens = torch.zeros(len(group), longest, dtype=torch.long)
    learnt = torch.zeros(len(group), longest, dtype=torch.bool)
    for row, one in enumerate(group):
        length = min(longest, len(one.tokens))
        tokens[row, :length] = torch.tensor(one.tokens[:length])
        learnt[row, :length] = torch.tensor(one.learnt[:length])
    return Batch(tokens[:, :-1], learnt[:, 1:], tokens[:, 1:][learnt[:, 1:]])


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(batch.tokens, use_cache=False).last_hidden_state
        scores = model.lm_head(hidden[batch.learnt])
    return cross_entropy(scores.float(), batch.targets)


class Training:
    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.model = new_model(recipe, tokenizer)
        inner = [weight for name, weight in self.model.named_parameters() if weight.ndim == 2 and "embed" not in name]
        outer = [weight for name, weight in self.model.named_parameters() if weight.ndim == 1 or "embed" in name]
        self.muon = Muon(inner, rate=recipe.muon_rate, decay=recipe.decay)
        self.adam = torch.optim.AdamW(outer, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, number: int, batch: Batch) -> float:
        loss = loss_of(self.model, batch)
        loss.backward()
        share = self.recipe.rate(number)
        self.adam.param_groups[0]["lr"] = self.recipe.adam_rate * share
        self.adam.step()
        self.muon.step(share)
        self.model.zero_grad()
        return loss.item()

    def run(self, folder: Path, save_every: int) -> None:
        began, tokens, losses = time.monotonic(), 0, []
        for number, batch in enumerate(islice(batches(self.recipe, self.tokenizer), self.recipe.steps), 1):
            losses.append(self.step(number - 1, batch))
            tokens += batch.tokens.numel()
            if number % 50 == 0:
                seconds = time.monotonic() - began
                print(f"step {number} loss {sum(losses) / len(losses):.4f} tokens {tokens} seconds {seconds:.0f} tokens/s {tokens / seconds:.0f}", flush=True)
                losses.clear()
            if number % save_every == 0 or number == self.recipe.steps:
                export(self.model, self.tokenizer, folder)


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes what vLLM and transformers load. The weights are cast in a copy, training goes on in full precision."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.5,
        top_p=0.9,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in vars(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--folder", type=Path, default=MODEL)
    parser.add_argument("--save-every", type=int, default=500)
    options = vars(parser.parse_args())
    folder, save_every = options.pop("folder"), options.pop("save_every")
    torch.set_num_threads(2)
    Training(Recipe(**options), train_tokenizer()).run(folder, save_every)


if __name__ == "__main__":
    main()
