"""Trains the demo model from nothing: `python -m engine.demo.train` writes engine/demo/model/."""

from __future__ import annotations

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from engine.demo.generate import chats
from engine.demo.muon import Muon
from engine.demo.tokenizer import encode, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerFast

    from engine.demo.tokenizer import Encoded

MODEL = Path(__file__).with_name("model")
CONTEXT = 2048
THREADS = 2
PARTS = 4  # of a batch
POOL = 1500  # chats that are sorted by length at a time, to make batches with little padding


@dataclass(frozen=True)
class Recipe:
    minutes: float = 90.0  # on two cores; the schedule follows the clock, because a laptop has other work too
    batch_tokens: int = 4096
    warm_up: int = 100
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    decay: float = 0.01
    easy_steps: int = 1500  # steps over which chats grow to their full length
    memory_share: float = 0.4  # of the chats that practise memory, in the end
    width: int = 256
    layers: int = 5
    heads: int = 4
    seed: int = 1

    def rate(self, step: int, elapsed: float) -> float:
        """Share of the full learning rate: a short warm-up, a plateau, and half of the time going down to nothing."""
        return max(0.0, min(1.0, (step + 1) / self.warm_up, 2 * (1 - elapsed / (60 * self.minutes))))


@dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor
    learnt: torch.Tensor  # positions whose next token is the assistant's
    targets: torch.Tensor

    def parts(self, count: int) -> list[Batch]:
        """The batch in smaller ones."""
        rows = self.tokens.shape[0]
        sizes = [len(part) for part in torch.arange(rows).tensor_split(min(count, rows))]
        tokens, learnt = torch.split(self.tokens, sizes), torch.split(self.learnt, sizes)
        targets = torch.split(self.targets, [int(part.sum()) for part in learnt])
        return [Batch(*part) for part in zip(tokens, learnt, targets, strict=True)]


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
            attn_implementation="eager",  # chats are short: here the fused one's backward pass is slower
        )
    )


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    rng = random.Random(recipe.seed)
    step = 0
    while True:
        ease = max(0.0, 1 - step / recipe.easy_steps) if recipe.easy_steps else 0.0
        made = chats(
            rng.randrange(2**32),
            memory_share=recipe.memory_share + (0.9 - recipe.memory_share) * ease,
            most_turns=2 + round(10 * (1 - ease)),
        )
        pool = encode(tokenizer, [chat.messages() for chat in islice(made, POOL)])
        pool.sort(key=lambda one: len(one.tokens))
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


def gradients(model: LlamaForCausalLM, batch: Batch, *, share_of: int) -> tuple[float, tuple[torch.Tensor, ...]]:
    """The loss on a part of a batch, as its share of the mean over so many targets, and its gradients."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(batch.tokens, use_cache=False).last_hidden_state
        scores = model.lm_head(hidden[batch.learnt])
    loss = cross_entropy(scores.float(), batch.targets, reduction="sum") / share_of
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


class Training:
    """One training run. Threads take parts of each batch as they come free: on a busy machine this is far faster than
    splitting every operation over the cores, where each waits for the slowest."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: Path | None = None) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.model = new_model(recipe, tokenizer)
        if start is not None:
            self.model.load_state_dict(LlamaForCausalLM.from_pretrained(start, dtype=torch.float32).state_dict())
        self.pool = ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,))
        inner = [weight for name, weight in self.model.named_parameters() if weight.ndim == 2 and "embed" not in name]
        outer = [weight for name, weight in self.model.named_parameters() if weight.ndim == 1 or "embed" in name]
        self.muon = Muon(inner, rate=recipe.muon_rate, decay=recipe.decay, pool=self.pool)
        self.adam = torch.optim.AdamW(outer, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, batch: Batch, share: float) -> float:
        loss = self._backward(batch)
        self.adam.param_groups[0]["lr"] = self.recipe.adam_rate * share
        self.adam.step()
        self.muon.step(share)
        return loss

    def _backward(self, batch: Batch) -> float:
        work = partial(gradients, self.model, share_of=len(batch.targets))
        losses, found = zip(*self.pool.map(work, batch.parts(PARTS)), strict=True)
        for weight, parts in zip(self.model.parameters(), zip(*found, strict=True), strict=True):
            weight.grad = torch.stack(parts).sum(0)
        return float(sum(losses))

    def run(self, folder: Path, save_every: int) -> None:
        began, tokens, losses = time.monotonic(), 0, []
        for number, batch in enumerate(batches(self.recipe, self.tokenizer)):
            elapsed = time.monotonic() - began
            if elapsed > 60 * self.recipe.minutes:
                break
            losses.append(self.step(batch, self.recipe.rate(number, elapsed)))
            tokens += batch.tokens.numel()
            if number % 50 == 49:
                loss = sum(losses) / len(losses)
                print(f"step {number + 1} loss {loss:.4f} tokens {tokens} seconds {elapsed:.0f}", flush=True)
                losses.clear()
            if number % save_every == save_every - 1:
                export(self.model, self.tokenizer, folder)
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
    # The name by which transformers of the fourth and the fifth generation both know this class.
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in vars(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--folder", type=Path, default=MODEL)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--start", type=Path, help="go on from these weights, with a schedule of its own")
    options = vars(parser.parse_args())
    folder, save_every, start = (options.pop(name) for name in ("folder", "save_every", "start"))
    torch.set_num_threads(1)
    # The tokenizer is learnt from the phrases: weights go on with the one they know, whatever phrases came to be since.
    tokenizer = train_tokenizer() if start is None else AutoTokenizer.from_pretrained(start)
    Training(Recipe(**options), tokenizer, start).run(folder, save_every)


if __name__ == "__main__":
    main()
