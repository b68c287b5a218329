from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from transformers import AutoConfig, GenerationConfig

from engine.demo.corpus.chat import Source
from engine.demo.evaluate import Speaker, recalls
from engine.demo.train import CONTEXT, MODEL

MOST_BYTES = 20_000_000
VLLM_CPU_HEAD_SIZES = {32, 64, 80, 96, 112, 128, 192, 256}


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker(MODEL)


def test_weights_fit_in_the_repository() -> None:
    assert (MODEL / "model.safetensors").stat().st_size < MOST_BYTES


def test_config_is_one_that_vllm_serves() -> None:
    config = AutoConfig.from_pretrained(MODEL)
    assert config.architectures == ["LlamaForCausalLM"]
    assert config.head_dim in VLLM_CPU_HEAD_SIZES
    assert config.max_position_embeddings == CONTEXT


def test_sampling_stops_at_the_end_mark(speaker: Speaker) -> None:
    generation = GenerationConfig.from_pretrained(MODEL)
    assert generation.eos_token_id == [speaker.tokenizer.convert_tokens_to_ids("<|end|>")]
    assert 0.3 <= generation.temperature <= 0.7


def test_says_hello(speaker: Speaker) -> None:
    assert speaker.answers([[{"role": "user", "content": "Hello!"}]], greedy=True)[0].startswith(("Hello", "Hi", "Hey"))


def test_remembers(speaker: Speaker) -> None:
    """Values and phrases that training never saw. The full measurement is engine.demo.evaluate."""
    trials = list(islice(recalls(Source(Random(1), held_out_phrases=True, held_out_values=True)), 24))
    answers = speaker.answers([trial.messages for trial in trials], greedy=True, longest=40)
    right = sum(trial.turn.is_right(answer) for trial, answer in zip(trials, answers, strict=True))
    assert right >= 12
