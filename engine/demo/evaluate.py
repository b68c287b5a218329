"""Measures the demo model on chats that training cannot have held: `python -m engine.demo.evaluate`.

A memory question comes in a phrase held out from training, in a chat of up to six turns made of such phrases; its value comes from
the spellings of training or from those held out. An answer is *right* if the generator could have given it in this very place, and
*fluent* if the generator could have given it to such a message at all.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.demo.corpus.chat import ACTS, MEMORY_ACTS, Chat, Source, chat
from engine.demo.train import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.demo.corpus.chat import Turn

SEED = 20_000
MOST_TURNS = 6
LONGEST_ANSWER = 600
AT_ONCE = 32
ASKED_KINDS = ("name", "city", "colour")


@dataclass(frozen=True)
class Trial:
    messages: list[dict[str, str]]
    turn: Turn  # the last one, whose answer the messages leave out


@dataclass(frozen=True)
class Score:
    trials: int
    right: int
    fluent: int


def _trial(made: Chat) -> Trial:
    return Trial(made.messages()[:-1], made.turns[-1])


def recalls(source: Source, *, known: bool = True) -> Iterator[Trial]:
    """Chats of two to six turns that end in a question for something told earlier, or never told."""
    while True:
        made = chat(source, turns=source.rng.randint(1, MOST_TURNS - 1), acts=source.rng.choice((ACTS, MEMORY_ACTS)))
        kinds = [kind for kind in ASKED_KINDS if (kind in made.facts) == known]
        if kinds:
            made.ask(source.rng.choice(kinds))
            yield _trial(made)


def ending_in(act: str, source: Source) -> Iterator[Trial]:
    while True:
        made = chat(source, turns=source.rng.randint(0, MOST_TURNS - 1))
        made.act(act)
        yield _trial(made)


def anything(source: Source) -> Iterator[Trial]:
    while True:
        yield _trial(chat(source, turns=source.rng.randint(1, MOST_TURNS)))


def suites(seed: int = SEED) -> dict[str, Iterator[Trial]]:
    def source(*, values: bool = True, offset: int = 0) -> Source:
        return Source(random.Random(seed + offset), held_out_phrases=True, held_out_values=values)

    return {
        "memory, known values": recalls(source(values=False)),
        "memory, unseen values": recalls(source(offset=1)),
        "memory, never told": recalls(source(offset=2), known=False),
        "counting": ending_in("count", source(offset=3)),
        "sums (larger ones unseen)": ending_in("sum", source(offset=4)),
        "stories": ending_in("story", source(offset=5)),
        "repeating unseen words": ending_in("repeat", source(offset=6)),
        "all intents, as in training": anything(Source(random.Random(seed + 7), held_out_phrases=True)),
    }


class Speaker:
    """The model as a user meets it: the chat template, and either its default sampling or the most likely words."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def answers(self, chats: Sequence[list[dict[str, str]]], *, greedy: bool) -> list[str]:
        inputs = self.tokenizer.apply_chat_template(list(chats), add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True)
        choice = {"do_sample": False, "temperature": None, "top_p": None} if greedy else {}
        with torch.inference_mode():
            output = self.model.generate(**inputs, **choice, max_new_tokens=LONGEST_ANSWER)
        texts: list[str] = self.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts


def score(speaker: Speaker, trials: Sequence[Trial], *, greedy: bool, told: Callable[[Trial, str], None]) -> Score:
    right = fluent = 0
    by_length = sorted(trials, key=lambda trial: (len(trial.turn.answer), sum(len(message["content"]) for message in trial.messages)))
    for at in range(0, len(trials), AT_ONCE):
        some = by_length[at : at + AT_ONCE]
        for trial, answer in zip(some, speaker.answers([trial.messages for trial in some], greedy=greedy), strict=True):
            is_right = trial.turn.is_right(answer)
            right += is_right
            fluent += trial.turn.is_fluent(answer)
            if not is_right:
                told(trial, answer)
    return Score(len(trials), right, fluent)


def row(name: str, sampling: str, result: Score) -> str:
    right, fluent = (f"{100 * part / result.trials:.1f} %" for part in (result.right, result.fluent))
    return f"| {name} | {sampling} | {result.trials} | {right} | {fluent} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=MODEL)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--only", default="", help="measure only what begins so")
    parser.add_argument("--greedy-only", action="store_true")
    parser.add_argument("--show-errors", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    speaker = Speaker(options.folder)
    print("| held-out chats | sampling | trials | right | fluent |\n| --- | --- | --- | --- | --- |")
    for name, trials in suites().items():
        if not name.startswith(options.only):
            continue
        some = [next(trials) for _ in range(options.trials)]
        for greedy in (True,) if options.greedy_only else (True, False):
            errors: list[tuple[Trial, str]] = []
            result = score(speaker, some, greedy=greedy, told=lambda *error: errors.append(error))
            print(row(name, "greedy" if greedy else "default", result), flush=True)
            if options.show_errors:
                for trial, answer in errors[:15]:
                    print(f"    {trial.turn.intent}: {trial.messages[-1]['content']!r}\n        said {answer!r}\n        like {trial.turn.answer!r}")


if __name__ == "__main__":
    main()
