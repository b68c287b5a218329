"""Measures the demo model on chats that training cannot have held: `python -m engine.demo.evaluate`.

All that the user says is in phrases held out from training, in chats of up to six turns. Values are known ones, of the
lists that training draws from; spelled as training spells them, of which it has met few twice; or unseen, of words that
training never holds. An answer is *right* if the generator could have given it in this very place, and *fluent* if the
generator could have given it to such a message in some chat or other.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.demo.corpus.chat import ACTS, MEMORY_ACTS, Chat, Source, chat
from engine.demo.train import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.demo.corpus.chat import Utterance

SEED = 20_000
MOST_TURNS = 6
LONGEST_ANSWER = 600
AT_ONCE = 32
ASKED_KINDS = ("name", "city", "colour")


@dataclass(frozen=True)
class Trial:
    messages: list[dict[str, str]]
    turn: Utterance  # the last one, whose answer the messages leave out


@dataclass(frozen=True)
class Verdict:
    trial: Trial
    answer: str

    @property
    def right(self) -> bool:
        return self.trial.turn.is_right(self.answer)

    @property
    def fluent(self) -> bool:
        return self.trial.turn.is_fluent(self.answer)


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
    def source(offset: int, *, unseen: bool = True, known: bool = False) -> Source:
        rng = random.Random(seed + offset)
        return Source(rng, held_out_phrases=True, held_out_values=unseen, listed_values=known)

    return {
        "memory, known values": recalls(source(8, known=True)),
        "memory, values as training makes them": recalls(source(0, unseen=False)),
        "memory, unseen values": recalls(source(1)),
        "memory, never told": recalls(source(2), known=False),
        "counting": ending_in("count", source(3)),
        "sums (larger ones unseen)": ending_in("sum", source(4)),
        "stories": ending_in("story", source(5)),
        "repeating unseen words": ending_in("repeat", source(6)),
        "all intents, as in training": anything(Source(random.Random(seed + 7), held_out_phrases=True)),
    }


class Speaker:
    """The model as a user meets it: the chat template, and either its default sampling or the most likely words."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def answers(
        self, chats: Sequence[list[dict[str, str]]], *, greedy: bool, longest: int = LONGEST_ANSWER
    ) -> list[str]:
        inputs = self.tokenizer.apply_chat_template(
            list(chats), add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        choice = {"do_sample": False, "temperature": None, "top_p": None} if greedy else {}
        with torch.inference_mode():
            output = self.model.generate(**inputs, **choice, max_new_tokens=longest)
        texts: list[str] = self.tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return texts


def length(trial: Trial) -> tuple[int, int]:
    return len(trial.turn.answer), sum(len(message["content"]) for message in trial.messages)


def judge(speaker: Speaker, trials: Sequence[Trial], *, greedy: bool) -> list[Verdict]:
    """Trials of like length are answered together: little padding, little waiting."""
    ordered = sorted(trials, key=length)
    verdicts: list[Verdict] = []
    for at in range(0, len(ordered), AT_ONCE):
        some = ordered[at : at + AT_ONCE]
        answers = speaker.answers([trial.messages for trial in some], greedy=greedy)
        verdicts += map(Verdict, some, answers)
    return verdicts


def row(name: str, sampling: str, verdicts: Sequence[Verdict]) -> str:
    right = sum(verdict.right for verdict in verdicts) / len(verdicts)
    fluent = sum(verdict.fluent for verdict in verdicts) / len(verdicts)
    return f"| {name} | {sampling} | {len(verdicts)} | {right:.1%} | {fluent:.1%} |"


def show_errors(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if not verdict.right:
            turn = verdict.trial.turn
            print(f"    {turn.intent}: {turn.said!r}\n        said {verdict.answer!r}\n        like {turn.answer!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=MODEL)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--only", default="", help="measure only what begins so")
    parser.add_argument("--greedy-only", action="store_true")
    parser.add_argument("--show-errors", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    speaker = Speaker(options.folder)
    print("| held-out chats | sampling | trials | right | fluent |\n| --- | --- | --- | --- | --- |")
    for name, trials in suites().items():
        some = list(islice(trials, options.trials)) if name.startswith(options.only) else []
        for sampling in ("greedy", "default")[: 1 if options.greedy_only else 2] if some else ():
            verdicts = judge(speaker, some, greedy=sampling == "greedy")
            print(row(name, sampling, verdicts), flush=True)
            if options.show_errors:
                show_errors(verdicts)


if __name__ == "__main__":
    main()
