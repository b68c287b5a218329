"""Prints generated chats, to see what the model learns from: `python -m engine.demo.generate --count 3`."""

from __future__ import annotations

import argparse
import random
from typing import TYPE_CHECKING

from engine.demo.corpus.chat import ACTS, MEMORY_ACTS, Chat, Source, chat

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_TURNS = 12
MARATHON_TURNS = (15, 50)  # a few chats fill the whole context, so that no position is new to the model
MARATHON_SHARE = 0.008


def chats(seed: int, *, memory_share: float = 0.3, most_turns: int = MOST_TURNS) -> Iterator[Chat]:
    """Chats for training without end, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        acts = MEMORY_ACTS if rng.random() < memory_share else ACTS
        turns = rng.randint(1, rng.randint(1, most_turns))
        if most_turns == MOST_TURNS and rng.random() < MARATHON_SHARE:
            turns = rng.randint(*MARATHON_TURNS)
        yield chat(Source(rng), turns=turns, acts=acts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for _, made in zip(range(options.count), chats(options.seed), strict=False):
        for message in made.messages():
            print(f"{message['role']:>9}: {message['content']}")
        print()


if __name__ == "__main__":
    main()
