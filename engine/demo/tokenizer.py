"""The demo model's tokenizer: byte pairs learnt from the phrases alone, so that values fall into several pieces."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine.demo.corpus.chat import Source, chat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tokenizers import Encoding

BEGIN, SYSTEM, USER, ASSISTANT, END = SPECIAL = ("<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
VOCABULARY = 2048
TRAINING_CHATS = 30_000
TEMPLATE = Path(__file__).with_name("chat_template.jinja")
# A word takes the space before it along, digits stand alone: a value is cut alike wherever it appears.
PIECES = Regex(r" ?\p{N}| ?[\p{L}\p{M}]+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+")


class Blank(Source):
    """Phrases without their values."""

    def value(self, kind: str) -> str:
        return "0"


def _phrases() -> Iterator[str]:
    # Capitals that begin few words of the phrases begin values: a piece for each, space included.
    yield from (f" {letter}" for letter in ascii_letters * 2000)
    source = Blank(random.Random(0))
    for _ in range(TRAINING_CHATS):
        for turn in chat(source, turns=3).turns:
            yield from (" " + turn.said, turn.answer)


def train_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(PIECES, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_phrases(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        chat_template=TEMPLATE.read_text(),
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


@dataclass(frozen=True)
class Encoded:
    tokens: list[int]
    learnt: list[bool]  # which tokens are the assistant's own, its end mark included


def encode(tokenizer: PreTrainedTokenizerFast, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[Encoded]:
    """What the chat template renders, in tokens. Done piece by piece, it tells whose each token is, and is faster."""
    texts = [_indented(message) for chat in chats for message in chat]
    pieces = iter(tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))
    return [_encoded(tokenizer, chat, pieces) for chat in chats]


def _indented(message: Mapping[str, str]) -> str:
    return message["content"] if message["role"] == "assistant" else " " + message["content"]


def _encoded(
    tokenizer: PreTrainedTokenizerFast, chat: Sequence[Mapping[str, str]], pieces: Iterator[Encoding]
) -> Encoded:
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    whole = Encoded([begin], [False])
    for message in chat:
        words = next(pieces).ids
        learnt = message["role"] == "assistant"
        whole.tokens.extend([tokenizer.convert_tokens_to_ids(ROLES[message["role"]]), *words, end])
        whole.learnt.extend([False, *[learnt] * len(words), learnt])
    return whole
